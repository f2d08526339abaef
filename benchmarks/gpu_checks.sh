#!/usr/bin/env bash
# The checks that need a GPU, in one call of about 10 minutes, a table last. Run from a checkout that is set up:
#
#   bash benchmarks/gpu_checks.sh [FOLDER FOR WHAT IT WRITES]
#
# PYTHON names an interpreter that has the packages (default: .venv/bin/python, else python3). No data is needed: the
# demo world is drawn. Each check is one line of the table: what was run, ok or FAILED, seconds, and the last line it printed.
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
out=$(realpath -m "${1:-$(mktemp -d)}")
mkdir -p "$out"
python=${PYTHON:-$root/.venv/bin/python}
[ -x "$python" ] || python=python3
export PYTHONPATH=$root PYTHONUNBUFFERED=1
failed=0
table="$out/table.md"
{
  echo "# GPU checks, $(date -u +%F)"
  echo
  "$python" -c 'import torch; print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, CUDA {torch.version.cuda}")'
  echo
  echo "| check | result | seconds | last line |"
  echo "| --- | --- | ---: | --- |"
} >"$table" || { echo "gpu_checks.sh: error: torch sees no GPU" >&2; exit 2; }

check() { # NAME LIMIT_SECONDS COMMAND...
  local name=$1 limit=$2 began=$SECONDS result=ok
  shift 2
  timeout "$limit" "$@" >"$out/$name.log" 2>&1 || { result="FAILED ($?)"; failed=1; }
  echo "| $name | $result | $((SECONDS - began)) | $(tail -n 1 "$out/$name.log" | tr '|' '/' | cut -c1-160) |" | tee -a "$table"
}

transfer=("$python" -m mec_transfer.cli.main)
demo=$out/world
check demo-world 120 "${transfer[@]}" data demo --out "$demo"
common=(--device cuda --workers 8)
check knn 120 "${transfer[@]}" knn random:resnet50 --config demo_knn --data "$demo/imagenet" --out "$out/knn" "${common[@]}"
check knn-cpu 240 "${transfer[@]}" knn random:resnet50 --config demo_knn --data "$demo/imagenet" --out "$out/knn-cpu" --device cpu
check knn-bf16 120 "${transfer[@]}" knn random:resnet50 --config demo_knn --data "$demo/imagenet" --out "$out/knn-bf16" \
  --set recipe.mixed_precision=true "${common[@]}"
check linear-fast 120 "${transfer[@]}" linear random:resnet50 --config demo_linear_fast --data "$demo/imagenet" --out "$out/fast" "${common[@]}"
check linear-mec 180 "${transfer[@]}" linear random:resnet50 --config cifar10_linear_mec --data "$demo/imagenet" \
  --set dataset.name=demo --set recipe.epochs=3 --set recipe.train_crop=64 --set recipe.eval_view.crop=64 --out "$out/linear" "${common[@]}"
check semisup 180 "${transfer[@]}" semisup random:resnet50 --config demo_semisup_10pct_barlow --data "$demo/imagenet" --out "$out/semisup" "${common[@]}"
check semisup-bf16 180 "${transfer[@]}" semisup random:resnet50 --config demo_semisup_10pct_barlow --data "$demo/imagenet" \
  --set recipe.mixed_precision=true --out "$out/semisup-bf16" "${common[@]}"
check semisup-syncbn 180 "${transfer[@]}" semisup random:resnet50 --config semisup_10pct_swav --data "$demo/imagenet" \
  --set dataset.name=demo --set recipe.epochs=3 --set recipe.batch=32 --set recipe.train_crop=64 \
  --set 'recipe.eval_view={resize: null, crop: 64}' --out "$out/swav" "${common[@]}"
for job in knn knn-bf16 fast linear semisup semisup-bf16 swav; do
  check "verify-$job" 60 "${transfer[@]}" verify "$out/$job"
done
for precision in fp32 bf16; do
  check "pretrain-$precision" 180 "$python" -m pretrain mec_r50_100ep --data "$demo/pretrain" --out "$out/pretrain-$precision" --device cuda \
    --workers 14 --set batch_size=128 --set epochs=2 --set warmup_epochs=1 --set log_every=5 --set precision=$precision --set channels_last=true
done
check inspect 60 "${transfer[@]}" inspect "$out/pretrain-bf16/checkpoint_last.pth"
check objective 120 "$python" benchmarks/objective.py --full --repeats 3 --device cuda
check views 90 "$python" benchmarks/views.py --device cuda --batch 64
step=("$python" benchmarks/pretrain_step.py --arch resnet50 --size 224 --batch 256 --workers 14 --device cuda)
check step 240 "${step[@]}" --steps 10
! command -v gcc >/dev/null || check step-compiled 240 "${step[@]}" --steps 5 --compile
small=(mec_r50_small_gpu --data "$demo/pretrain" --device cuda --workers 8 --set epochs=1 --set warmup_epochs=1 --set batch_size=512 --set log_every=1)
check pretrain-chunks 180 "$python" -m pretrain "${small[@]}" --out "$out/pretrain-chunks"
check pretrain-torchrun 180 "$python" -m torch.distributed.run --standalone --nproc-per-node 1 -m pretrain "${small[@]}" --out "$out/pretrain-torchrun"
check features 200 "$python" benchmarks/features.py --arch resnet50 --crop 224 --images 4096 --repeats 3 --device cuda
# Detection: the guard on a GPU, the demo's job, and the C4 network at the published size: images/s, the share that is not the
# network, and Detectron2's own trainer beside it.
check detect-demo 240 "${transfer[@]}" detect random:resnet50 --config demo_mask_rcnn --data "$demo/coco" --out "$out/detect" "${common[@]}"
check verify-detect 60 "${transfer[@]}" verify "$out/detect"
short='recipe.changes={SOLVER.MAX_ITER: 20, SOLVER.STEPS: [15], SOLVER.WARMUP_ITERS: 5, SOLVER.IMS_PER_BATCH: 8, TEST.PRECISE_BN.NUM_ITER: 5, MODEL.RPN.POST_NMS_TOPK_TEST: 100}'
check detect-c4 240 "${transfer[@]}" detect random:resnet50 --config voc07_c4 --data "$demo/voc/VOC2007" --out "$out/c4" --set "$short" "${common[@]}"
check detect-tf32 240 "${transfer[@]}" detect random:resnet50 --config voc07_c4 --data "$demo/voc/VOC2007" --out "$out/c4-tf32" --set "$short" \
  --set recipe.tf32=true "${common[@]}"
check detection-step 300 "$python" benchmarks/detection_step.py --arch resnet50 --config voc0712_c4_d2.yaml --size 800 --batch 8 --steps 15 \
  --workers 14 --device cuda --startup
# Tracking: each task on the demo's videos, and once more in half precision, which may cost a little accuracy.
for task in sot_dcf:otb vos:davis mot:motchallenge mots:mots posetrack:posetrack18; do
  for precision in fp32 bf16; do
    check "track-${task%:*}-$precision" 60 "${transfer[@]}" track random:resnet50 --config "demo_${task%:*}" --data "$demo/${task#*:}" \
      --out "$out/track-${task%:*}-$precision" --device cuda --set recipe.precision=$precision
  done
done

echo
cat "$table"
echo
for precision in fp32 bf16; do
  [ -f "$out/pretrain-$precision/log.jsonl" ] && echo "pretraining, $precision, last step: $(tail -n 1 "$out/pretrain-$precision/log.jsonl")"
done
sed -n '/^| /p' "$out/objective.log" "$out"/{views,step,step-compiled,features,detection-step}.log 2>/dev/null
exit $failed
