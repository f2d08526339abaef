#!/usr/bin/env bash
# What needs a GPU, in one call of under ten minutes, the most important first. Run from a checkout that is set up:
#
#   bash benchmarks/gpu_checks.sh [FOLDER FOR WHAT IT WRITES]
#
# PYTHON names an interpreter that has the packages (default: .venv/bin/python, else python3). No data is needed: the
# demo world is drawn. Each check is a line of FOLDER/table.md, written and printed as it ends: what was run, ok or FAILED,
# seconds, and what it said. Measured rates go to FOLDER/rates.md as they come. After BUDGET seconds (580) what is left is
# told as skipped. ONLY is a regular expression: the checks whose names it matches, and the demo world that they read.
# DEVICE=cpu rehearses the script itself: small networks, no rates worth keeping.
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
out=$(realpath -m "${1:-$(mktemp -d)}")
mkdir -p "$out"
python=${PYTHON:-$root/.venv/bin/python}
[ -x "$python" ] || python=python3
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
device=${DEVICE:-cuda} budget=${BUDGET:-580} only=${ONLY:-} failed=0 table=$out/table.md rates=$out/rates.md world=$out/world
SECONDS=0

about='import torch; print(torch.cuda.get_device_name() if "'$device'" == "cuda" else "rehearsed on a CPU", "torch", torch.__version__)'
{ printf '# GPU checks, %s\n\n' "$(date -u +%F)"; "$python" -c "$about" && printf '\n| check | result | seconds | said |\n| --- | --- | ---: | --- |\n'; } \
  2>"$out/error.log" >"$table" || { echo "gpu_checks.sh: error: torch sees no GPU ($(tail -n 1 "$out/error.log"))" >&2; exit 2; }
: >"$rates"
cat "$table"

wanted() { [ "$1" = demo-world ] || [[ $1 =~ $only ]]; }

row() { ! wanted "$1" || echo "| $1 | $2 | $3 | $(tr '|' '/' <<<"$4" | cut -c1-160) |" | tee -a "$table"; }

check() { # NAME LIMIT_SECONDS COMMAND...
  local name=$1 limit=$2 left=$((budget - SECONDS)) began=$SECONDS result=ok said
  shift 2
  wanted "$name" || return 0
  [ "$left" -ge 10 ] || { row "$name" skipped 0 "out of time"; return; }
  timeout -k 20 $((limit < left ? limit : left)) "$@" >"$out/$name.log" 2>&1 || { result="FAILED ($?)"; failed=1; }
  said=$(grep '(primary)' "$out/$name.log") || said=$(tail -n 1 "$out/$name.log")
  row "$name" "$result" $((SECONDS - began)) "$said"
}

measure() { # NAME LIMIT_SECONDS COMMAND...: a check whose table is kept
  check "$@"
  [ ! -f "$out/$1.log" ] || { echo; echo "$1:"; grep '^| ' "$out/$1.log"; } >>"$rates"
}

transfer=("$python" -m mec_transfer.cli.main)
if [ "$device" = cuda ]; then
  arch=resnet50 workers=8 loaders=8 slots=(--gpus 1) batch=256 size=224 crops=8192 pairs=28
else
  arch=resnet18 workers=0 slots=(--jobs 1) batch=8 size=32 crops=64 loaders=2 pairs=2
fi
common=(--device "$device" --workers $workers)
gpus=$("$python" -c 'import torch; print(torch.cuda.device_count())')

# Each suite is one process that has torch, and a fork of it for each job.
cat >"$out/families.yaml" <<YAML
id: families
models: {random: random:$arch}
benchmarks: [demo_knn, demo_linear_fast, demo_semisup_10pct_barlow, demo_mask_rcnn, demo_sot_xcorr, demo_sot_dcf, demo_vos, demo_mot,
  demo_mots, demo_posetrack]
YAML
short='SOLVER.MAX_ITER: 20, SOLVER.STEPS: [15], SOLVER.WARMUP_ITERS: 5, SOLVER.IMS_PER_BATCH: 8, TEST.PRECISE_BN.NUM_ITER: 5, MODEL.RPN.POST_NMS_TOPK_TEST: 100'
views='recipe.train_crop=64, "recipe.eval_view={resize: null, crop: 64}"'
cat >"$out/precisions.yaml" <<YAML
id: precisions
models: {random: random:$arch}
benchmarks:
  - {config: demo_knn, set: [recipe.mixed_precision=true]}
  - {config: demo_semisup_10pct_barlow, set: [recipe.mixed_precision=true]}
  - {config: cifar10_linear_mec, set: [dataset.name=demo, dataset.folder=imagenet, recipe.epochs=3, $views]}
  - {config: semisup_10pct_swav, set: [dataset.name=demo, dataset.folder=imagenet, recipe.epochs=3, recipe.batch=32, $views]}
  - {config: demo_sot_dcf, set: [recipe.precision=bf16]}
  - {config: demo_vos, set: [recipe.precision=bf16]}
  - {config: demo_mot, set: [recipe.precision=bf16]}
  - {config: demo_mots, set: [recipe.precision=bf16]}
  - {config: demo_posetrack, set: [recipe.precision=bf16]}
YAML
[ "$device" = cpu ] || cat >>"$out/precisions.yaml" <<YAML
  - {config: voc07_c4, trials: 1, set: [dataset.folder=voc/VOC2007, 'recipe.changes={$short}']}
  - {config: voc07_c4, trials: 1, set: [dataset.folder=voc/VOC2007, recipe.tf32=true, 'recipe.changes={$short}']}
YAML
cat >"$out/trained.yaml" <<YAML
id: trained
models: {random: random:resnet50}
benchmarks: [demo_siamrpn, demo_reid, demo_deepsort]
YAML
suite() { echo "${transfer[@]}" run --suite "$out/$1.yaml" --data-root "$world" --out "$out/$1" --workers $workers --time-limit 4; }

pretrain=("$python" -m pretrain --data "$world/pretrain" --device "$device" --workers $workers)
steps=(--set epochs=1 --set warmup_epochs=0 --set log_every=1)
[ "$device" = cuda ] || steps+=(--set arch=resnet18 --set views.size=32 --set max_steps=2 --set batch_size=16)

stopped_and_resumed() { # pretraining told to stop after 15 s, twice: the second goes on
  local words=("${pretrain[@]}" mec_r50_small_gpu "${steps[@]}" --set batch_size=64 --set chunk_size=32 --set epochs=500 --out "$out/resumed")
  for _ in 1 2; do
    timeout --preserve-status -k 20 -s USR1 15 "${words[@]}"
    [ $? -eq 138 ] || return 1
  done 2>&1 | tee "$out/resumed.log"
  grep 'going on from step' "$out/resumed.log"
}

check doctor 60 "${transfer[@]}" doctor
check demo-world 90 "${transfer[@]}" data demo --out "$world"
# Every family's commands; the recipe for one GPU (chunks, fast views, bfloat16); the published one.
check families 240 $(suite families) "${slots[@]}"
check verify-families 90 "${transfer[@]}" verify "$out/families"
trackers() { "$python" -c 'import sys; from mec_transfer.common.extras import lacking; sys.exit(bool(lacking("mmtracking")))'; }
if trackers; then
  check trained-trackers 150 $(suite trained) "${slots[@]}"
else
  row trained-trackers skipped 0 "needs MMTracking: mec-transfer engines install mmtracking"
fi
chunks=(--set batch_size=512)
[ "$device" = cuda ] || chunks=(--set chunk_size=8)
check pretrain-one-gpu 90 "${pretrain[@]}" mec_r50_small_gpu "${steps[@]}" "${chunks[@]}" --labelled "$world/imagenet" --out "$out/one-gpu"
check pretrain-fp32 90 "${pretrain[@]}" mec_r50_100ep --set batch_size=128 "${steps[@]}" --out "$out/fp32"
# Rates: what docs/scaling.md and a dry run's hours stand on.
measure step 120 "$python" benchmarks/pretrain_step.py --arch $arch --size $size --batch $batch --workers $workers --device "$device" --steps 5
measure features 90 "$python" benchmarks/features.py --arch $arch --crop $size --images $crops --repeats 1 --workers $loaders --device "$device"
search="
import time, torch
from mec_transfer.classification.feature_rows import FeatureRows
from mec_transfer.classification.neighbours import nearest
device, (blocks, tests) = torch.device('$device'), (20, 50_000) if '$device' == 'cuda' else (2, 64)
rows = FeatureRows([torch.randn(1 << 16, 2048, device=device).cpu() for _ in range(blocks)])
test = torch.randn(tests, 2048)
began = time.monotonic()
nearest(rows, test, 200, device)
seconds = time.monotonic() - began
print(f'| {len(rows)} x {tests} images | {seconds:.1f} s | {len(rows) * tests / seconds:.3g} pairs/s |')"
measure knn-search 60 "$python" -c "$search"
fits=(--images 200 --width 32 --penalties 5)
[ "$device" = cuda ] && fits=(--penalties 12)
measure logistic 90 "$python" benchmarks/logistic.py "${fits[@]}" --device "$device"
detection=(--config demo_fpn_d2.yaml --size 64 --batch 2 --steps 2)
[ "$device" = cuda ] && detection=(--config voc0712_c4_d2.yaml --size 800 --batch 8 --steps 10)
measure detection-step 100 "$python" benchmarks/detection_step.py --arch $arch "${detection[@]}" --workers $workers --device "$device"
frames=() objective=(--sizes 64x64)
[ "$device" = cuda ] && objective=(--sizes 1024x2048 4096x2048 8192x2048) || frames=(--height 96 --width 128)
measure propagation 60 "$python" benchmarks/propagation.py --archs $arch "${frames[@]}" --repeats 2 --device "$device"
measure sot 60 "$python" benchmarks/sot.py --arch $arch --frames 3 --repeats 1 --device "$device"
! trackers || measure siamrpn 90 "$python" benchmarks/siamrpn.py steps frames --world "$world" --device "$device" --pairs $pairs
measure objective 60 "$python" benchmarks/objective.py "${objective[@]}" --repeats 3 --device "$device"
# The other precisions and recipes, a stop and a continuation, several GPUs.
check precisions 240 $(suite precisions) "${slots[@]}"
check verify-precisions 90 "${transfer[@]}" verify "$out/precisions"
export -f stopped_and_resumed
[ "$device" = cpu ] || check stopped-and-resumed 60 bash -c "$(declare -p pretrain steps out); stopped_and_resumed"
if [ "$gpus" -ge 2 ]; then
  two=("$python" -m torch.distributed.run --standalone --nproc-per-node 2 -m)
  check two-pretrain 60 "${two[@]}" "${pretrain[@]:2}" mec_r50_100ep --set batch_size=128 "${steps[@]}" --out "$out/two-pretrain"
  check two-semisup 60 "${two[@]}" mec_transfer.cli.main semisup random:$arch --config demo_semisup_10pct_barlow --data "$world/imagenet" --out "$out/two-semisup" "${common[@]}"
  check two-linear 60 "${two[@]}" mec_transfer.cli.main linear random:$arch --config cifar10_linear_mec --data "$world/imagenet" --out "$out/two-linear" \
    --set dataset.name=demo --set recipe.epochs=1 --set recipe.train_crop=64 --set 'recipe.eval_view={resize: null, crop: 64}' "${common[@]}"
  check two-detect 90 "${two[@]}" mec_transfer.cli.main detect random:$arch --config demo_mask_rcnn --data "$world/coco" --out "$out/two-detect" "${common[@]}"
  check two-siamrpn 90 "${two[@]}" mec_transfer.cli.main track random:resnet50 --config demo_siamrpn --set recipe.processes=2 --data "$world/otb" --out "$out/two-siamrpn" "${common[@]}"
else
  row two-gpus skipped 0 "needs two GPUs: nccl, SyncBN and DDP on them stay untried"
fi
check knn-cpu 90 "${transfer[@]}" knn "random:$arch" --config demo_knn --data "$world/imagenet" --out "$out/knn-cpu" --device cpu --workers $workers
measure similarity 40 "$python" benchmarks/similarity.py --repeats 3 --device "$device"
measure views 60 "$python" benchmarks/views.py --batch 16 --repeats 3 --device "$device"
! command -v gcc >/dev/null || [ "$device" = cpu ] ||
  measure step-compiled 150 "$python" benchmarks/pretrain_step.py --arch $arch --size $size --batch $batch --workers $workers --device "$device" --steps 3 --compile

cat "$rates" "$out"/{families,trained,precisions}/leaderboard.md 2>/dev/null
exit $failed
