#!/usr/bin/env bash
# What needs a GPU, in one call of under ten minutes, the most important first. Run from a checkout that is set up:
#
#   bash benchmarks/gpu_checks.sh [FOLDER FOR WHAT IT WRITES]
#   bash benchmarks/gpu_checks.sh --plan        the checks with their seconds, and what they add up to; runs nothing
#
# 1. does it run    every family, pretraining, engines: small jobs side by side, since nothing is timed
# 2. rates          one at a time, alone on the card; first what no GPU has measured yet
# 3. the rest       two GPUs where there are two, else rates that only repeat what benchmarks/results/gpu.md has
#
# The number behind a check's name is its share of the ten minutes, in seconds on an H100. What a check leaves of it goes
# to those after it, so that each gets its share whatever came before, and all end in time. `beside` starts a check
# that runs next to the following ones, up to `join`.
#
# Each check is a line of FOLDER/table.md, written and printed as it ends: what was run, ok or FAILED, seconds, and what
# it said. Measured rates go to FOLDER/rates.md as they come; the log of a check is FOLDER/NAME.log.
#
# PYTHON    an interpreter that has the packages (default: .venv/bin/python, else python3)
# ONLY      a regular expression: the checks whose names it matches, and the demo world that they read
# DEVICE    cpu rehearses the script itself: small networks, one check after another in four times the time, no rates
#           worth keeping
# GPUS      how many there are (default: as many as torch sees)
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
python=${PYTHON:-$root/.venv/bin/python}
[ -x "$python" ] || python=python3
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
device=${DEVICE:-cuda} only=${ONLY:-} plan='' scale=1 failed=0 planned=0 lanes=() lanes_end=0
[ "${1:-}" != --plan ] || { plan=yes; shift; }
[ "$device" = cuda ] || scale=4
SECONDS=0

if [ "$plan" ]; then
  out=/nowhere gpus=${GPUS:-1}
  printf '| check | seconds |\n| --- | ---: |\n'
else
  out=$(realpath -m "${1:-$(mktemp -d)}")
  mkdir -p "$out"
  about='import torch; print(torch.cuda.get_device_name() if "'$device'" == "cuda" else "rehearsed on a CPU", "torch", torch.__version__)'
  { printf '# GPU checks, %s\n\n' "$(date -u +%F)"; "$python" -c "$about" && printf '\n| check | result | seconds | said |\n| --- | --- | ---: | --- |\n'; } \
    2>"$out/error.log" >"$out/table.md" || { echo "gpu_checks.sh: error: torch sees no GPU ($(tail -n 1 "$out/error.log"))" >&2; exit 2; }
  : >"$out/rates.md"
  cat "$out/table.md"
  gpus=${GPUS:-$("$python" -c 'import torch; print(torch.cuda.device_count())')}
fi
table=$out/table.md rates=$out/rates.md world=$out/world

wanted() { [ "$1" = demo-world ] || [[ $1 =~ $only ]]; }

row() { # NAME RESULT SECONDS WORDS
  wanted "$1" || return 0
  if [ "$plan" ]; then echo "| $1 | $2 |"; else echo "| $1 | $2 | $3 | $(tr '|' '/' <<<"$4" | cut -c1-160) |" | tee -a "$table"; fi
}

attempt() { # NAME END COMMAND...: run it up to END, in seconds from the start, and tell how it went
  local name=$1 limit=$(($2 - SECONDS)) began=$SECONDS result=ok said
  shift 2
  timeout -k 10 $((limit > 1 ? limit : 1)) "$@" >"$out/$name.log" 2>&1 || result="FAILED ($?)"
  said=$(grep '(primary)' "$out/$name.log") || said=$(tail -n 1 "$out/$name.log")
  [ "$result" != 'FAILED (124)' ] || said="out of time: $said"
  row "$name" "$result" $((SECONDS - began)) "$said"
  [ "$result" = ok ]
}

check() { # NAME SECONDS COMMAND...
  local name=$1
  wanted "$name" || return 0
  planned=$((planned + $2 * scale))
  [ ! "$plan" ] || { row "$name" "$2"; return; }
  shift 2
  attempt "$name" $planned "$@" || failed=1
}

beside() { # NAME SECONDS COMMAND...: a check next to those that follow, in time that they have anyway
  [ "$device" = cuda ] || { check "$@"; return; }
  local name=$1 end=$((planned + $2))
  wanted "$name" || return 0
  lanes_end=$((end > lanes_end ? end : lanes_end))
  [ ! "$plan" ] || { row "$name" "beside, $2"; return; }
  shift 2
  attempt "$name" $end "$@" &
  lanes+=($!)
}

join() { # wait for what was started beside
  local lane
  for lane in "${lanes[@]}"; do wait "$lane" || failed=1; done
  planned=$((lanes_end > planned ? lanes_end : planned)) lanes=()
}

measure() { # NAME SECONDS COMMAND...: a check whose table is kept
  wanted "$1" || return 0
  check "$@"
  [ ! -f "$out/$1.log" ] || { echo; echo "$1:"; grep '^| ' "$out/$1.log"; } >>"$rates"
}

# The sizes, and what is there.
transfer=("$python" -m mec_transfer.cli.main)
steps=(--set epochs=1 --set warmup_epochs=0 --set log_every=1)
if [ "$device" = cuda ]; then
  arch=resnet50 workers=8 loaders=8 slots=(--gpus 1) batch=256 size=224 images=4096 pairs=28 parts=(frames steps)
  step=(--steps 5) fits=(--sets pets cifar100 --penalties 6) frames=() objective=(--sizes 1024x2048 4096x2048 8192x2048)
  detection=(--config voc0712_c4_d2.yaml --size 800 --batch 8 --steps 5) segmentation=(--batch 16 --steps 5)
else
  arch=resnet18 workers=0 loaders=2 slots=(--jobs 1 --device cpu) batch=8 size=32 images=64 pairs=2 parts=(steps)
  step=(--steps 2) fits=(--sets pets voc2007 --images 400 --width 32 --penalties 5) frames=(--height 96 --width 128) objective=(--sizes 64x64)
  detection=(--config demo_fpn_d2.yaml --size 64 --batch 2 --steps 2) segmentation=(--recipes voc12aug_fcn_moco --arch resnet18 --crop 65 --steps 1)
  steps+=(--set arch=resnet18 --set views.size=32 --set max_steps=2 --set batch_size=16)
fi
common=(--device "$device" --workers $workers)
[ "$device" = cpu ] || ! command -v gcc >/dev/null || step+=(--compile)
trackers() { [ "$plan" ] || "$python" -c 'import sys; from mec_transfer.common.extras import lacking; sys.exit(bool(lacking("mmtracking")))'; }

# Each suite is one process that has torch, and a fork of it for each job. Within one, what is newest comes first.
suite() { # NAME ARCH < BENCHMARKS
  [ "$plan" ] || { printf 'id: %s\nmodels: {random: random:%s}\nbenchmarks:\n' "$1" "$2"; cat; } >"$out/$1.yaml"
}
run() { echo "${transfer[@]}" run --suite "$out/$1.yaml" --data-root "$world" --out "$out/runs/$1" --workers $((workers / 2)) --time-limit $((4 * scale)) "${slots[@]}"; }
brief() { # CONFIG 'SETTINGS ON A CPU' [SETTINGS]: an entry of a suite, shorter on a CPU
  local settings=${3:-}
  [ "$device" = cuda ] || settings+="${settings:+, }$2"
  echo "{config: $1, set: [$settings]}"
}
suite frozen $arch <<YAML
  - demo_few_shot
  - demo_linear_fast
  - demo_robust
  - demo_logistic
  - demo_voc_svm
  - demo_knn
  - $(brief demo_sot_xcorr "'dataset.sequences=[TwinStars]'")
  - $(brief demo_sot_dcf "'dataset.sequences=[TwinStars]'")
  - $(brief demo_vos "'dataset.sequences=[twin-stars]'")
  - $(brief demo_mot "'dataset.sequences=[DEMO-01]'")
  - $(brief demo_mots "'dataset.sequences=[DEMO-01]'")
  - $(brief demo_posetrack "'dataset.sequences=[900001_demo_test]'")
  - {config: demo_knn, set: [recipe.mixed_precision=true]}
  - $(brief demo_sot_dcf "'dataset.sequences=[TwinStars]'" recipe.precision=bf16)
  - $(brief demo_vos "'dataset.sequences=[twin-stars]'" recipe.precision=bf16)
  - $(brief demo_mot "'dataset.sequences=[DEMO-01]'" recipe.precision=bf16)
YAML
short='dataset.name=demo, dataset.folder=imagenet, recipe.epochs=2, recipe.train_crop=64, "recipe.eval_view={resize: null, crop: 64}"'
few='SOLVER.MAX_ITER: 10, SOLVER.STEPS: [8], SOLVER.WARMUP_ITERS: 2, SOLVER.IMS_PER_BATCH: 2, TEST.PRECISE_BN.NUM_ITER: 2, MODEL.RPN.POST_NMS_TOPK_TEST: 100'
suite finetuned $arch <<YAML
  - $(brief demo_segmentation "recipe.iterations=4, 'recipe.schedule.steps=[3]'")
  - $(brief demo_mask_rcnn "'recipe.changes={SOLVER.MAX_ITER: 4, SOLVER.STEPS: [3], SOLVER.WARMUP_ITERS: 1, TEST.PRECISE_BN.NUM_ITER: 2}'")
  - $(brief demo_semisup_10pct_barlow recipe.epochs=2)
  - $(brief demo_semisup_10pct_barlow recipe.epochs=2 recipe.mixed_precision=true)
  - {config: cifar10_linear_mec, set: [$short]}
  - {config: semisup_10pct_swav, set: [$short, recipe.batch=32]}
$([ "$device" = cpu ] || echo "  - {config: voc07_c4, trials: 1, set: [dataset.folder=voc/VOC2007, recipe.tf32=true, 'recipe.changes={$few}']}")
YAML
suite trackers resnet50 <<YAML
  - demo_siamrpn
  - demo_reid
  - demo_deepsort
YAML

pretrain=("$python" -m pretrain --data "$world/pretrain" --device "$device" --workers $workers)
stopped_and_resumed() { # pretraining told to stop after 12 s, twice: the second goes on
  local words=("${pretrain[@]}" mec_r50_small_gpu "${steps[@]}" --set batch_size=64 --set chunk_size=32 --set epochs=500 --out "$out/resumed")
  for _ in 1 2; do
    timeout --preserve-status -k 20 -s USR1 12 "${words[@]}"
    [ $? -eq 138 ] || return 1
  done 2>&1 | tee "$out/resumed.log"
  grep 'going on from step' "$out/resumed.log"
}
export -f stopped_and_resumed

# 1. Does it run? First the imports and the data; then everything that trains or measures a little.
beside doctor 45 "${transfer[@]}" doctor
check demo-world 45 "${transfer[@]}" data demo --out "$world"
join
beside frozen 145 $(run frozen)
beside finetuned 145 $(run finetuned)
if trackers; then
  beside trackers 145 $(run trackers)
else
  row trackers skipped 0 "needs MMTracking: mec-transfer engines install mmtracking"
fi
# The recipe for one GPU at its own batch (chunks, fast views, bfloat16); the published one; a stop and a continuation.
own=(--set epochs=2)
[ "$device" = cuda ] || own=(--set chunk_size=8)
check pretrain-one-gpu 60 "${pretrain[@]}" mec_r50_small_gpu "${steps[@]}" "${own[@]}" --labelled "$world/imagenet" --out "$out/one-gpu"
check pretrain-fp32 40 "${pretrain[@]}" mec_r50_100ep --set batch_size=128 "${steps[@]}" --out "$out/fp32"
[ "$device" = cpu ] || check stopped-and-resumed 45 bash -c "$(declare -p pretrain steps out); stopped_and_resumed"
join

# 2. Rates that no GPU has measured; docs/scaling.md and a dry run's hours stand on such. Alone on the card.
measure step 100 "$python" benchmarks/pretrain_step.py --arch $arch --size $size --batch $batch --workers $workers --device "$device" "${step[@]}"
measure segmentation 40 "$python" benchmarks/segmentation.py --device "$device" "${segmentation[@]}"
measure logistic 30 "$python" benchmarks/logistic.py "${fits[@]}" --device "$device"
! trackers || measure siamrpn 45 "$python" benchmarks/siamrpn.py "${parts[@]}" --world "$world" --device "$device" --pairs $pairs
measure views 20 "$python" benchmarks/views.py --batch 16 --repeats 3 --device "$device"

# 3. The rest. Beside it, where nothing that it slows is timed: every number of the families from what they wrote, and
# one that the CPU has to give, too.
with_the_cpu() {
  beside verify 40 "${transfer[@]}" verify "$out/runs"
  beside knn-cpu 40 "${transfer[@]}" knn "random:$arch" --config demo_knn --data "$world/imagenet" --out "$out/knn-cpu" --device cpu --workers $((workers / 2))
}
if [ "$gpus" -ge 2 ]; then # nccl, SyncBN and DDP have never run
  with_the_cpu
  two=("$python" -m torch.distributed.run --standalone --nproc-per-node 2 -m)
  check two-pretrain 30 "${two[@]}" "${pretrain[@]:2}" mec_r50_100ep --set batch_size=128 "${steps[@]}" --out "$out/two-pretrain"
  check two-semisup 25 "${two[@]}" mec_transfer.cli.main semisup random:$arch --config demo_semisup_10pct_barlow --data "$world/imagenet" --out "$out/two-semisup" "${common[@]}"
  check two-linear 25 "${two[@]}" mec_transfer.cli.main linear random:$arch --config cifar10_linear_mec --data "$world/imagenet" --out "$out/two-linear" \
    --set dataset.name=demo --set recipe.epochs=1 --set recipe.train_crop=64 --set 'recipe.eval_view={resize: null, crop: 64}' "${common[@]}"
  check two-detect 35 "${two[@]}" mec_transfer.cli.main detect random:$arch --config demo_mask_rcnn --data "$world/coco" --out "$out/two-detect" "${common[@]}"
  ! trackers || check two-siamrpn 35 "${two[@]}" mec_transfer.cli.main track random:resnet50 --config demo_siamrpn --set recipe.processes=2 --data "$world/otb" --out "$out/two-siamrpn" "${common[@]}"
else
  row two-gpus skipped 0 "needs two GPUs: nccl, SyncBN and DDP on them stay untried"
  measure detection-step 35 "$python" benchmarks/detection_step.py --arch $arch "${detection[@]}" --workers $workers --device "$device"
  measure features 30 "$python" benchmarks/features.py --arch $arch --crop $size --images $images --repeats 1 --workers $loaders --device "$device"
  measure sot 20 "$python" benchmarks/sot.py --arch $arch --frames 3 --repeats 1 --device "$device"
  measure propagation 25 "$python" benchmarks/propagation.py --archs $arch "${frames[@]}" --repeats 2 --device "$device"
  with_the_cpu
  measure objective 15 "$python" benchmarks/objective.py "${objective[@]}" --repeats 3 --device "$device"
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
  measure knn-search 25 "$python" -c "$search"
fi
join

if [ "$plan" ]; then echo "| together | $planned |"; exit; fi
cat "$rates" "$out"/runs/{frozen,finetuned,trackers}/leaderboard.md 2>/dev/null
exit $failed
