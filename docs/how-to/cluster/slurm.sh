#!/usr/bin/env bash
# Ray on all nodes of a Slurm job, and `fineseg run` with the arguments of this script on the first of them.
#
#     sbatch --nodes=2 --gpus-per-node=4 slurm.sh competitions/3dfuture.toml --store /shared/store
#
# Submit it where fineseg's environment is active, on a disk that all nodes share. Not tried on Slurm.
#SBATCH --job-name=fineseg
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --time=24:00:00
#SBATCH --output=fineseg-%j.log
set -euo pipefail

export RAY_USAGE_STATS_ENABLED=0
export RAY_AUTH_MODE=token # other users of the nodes must not run code as you; the token lies in ~/.ray, on all nodes
ray get-auth-token --generate >/dev/null
PORT=$((20000 + SLURM_JOB_ID % 20000)) # two jobs may share a node
HEAD=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
GPUS=${SLURM_GPUS_ON_NODE:-0}

on=(srun --overlap --nodes=1 --ntasks=1 --nodelist)
start=(ray start --block --num-cpus="$SLURM_CPUS_PER_TASK" --num-gpus="$GPUS" --object-store-memory=200000000)

trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT
"${on[@]}" "$HEAD" "${start[@]}" --head --port="$PORT" --include-dashboard=false &
until "${on[@]}" "$HEAD" ray status --address="$HEAD:$PORT" >/dev/null 2>&1; do sleep 2; done
for node in $(scontrol show hostnames "$SLURM_JOB_NODELIST" | tail -n +2); do
    "${on[@]}" "$node" "${start[@]}" --address="$HEAD:$PORT" &
done
# the command waits for nobody: it uses the nodes that are there when it starts
until [ "$("${on[@]}" "$HEAD" ray status --address="$HEAD:$PORT" 2>/dev/null | grep -c ' node_')" -ge "$SLURM_JOB_NUM_NODES" ]; do
    sleep 2
done

"${on[@]}" "$HEAD" fineseg run "$@" --ray "$HEAD:$PORT"
