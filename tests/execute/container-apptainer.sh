#!/bin/bash

# Parameters
#SBATCH --array=0-1,3%2
#SBATCH --error=/logs/%A_%a_0_log.err
#SBATCH --job-name=jobs
#SBATCH --nodes=1
#SBATCH --open-mode=append
#SBATCH --output=/logs/%A_%a_0_log.out
#SBATCH --signal=USR2@90
#SBATCH --time=5

# setup
module load x
export HF_HUB_CACHE=/mine/hub

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output /logs/%A_%a_%t_log.out --error /logs/%A_%a_%t_log.err --mpi=none apptainer exec --nv --bind /mine/lists,/mine/runs,/model --pwd /mine/here /mine/image.sif python3 -u -m jobs.execute.job /logs 0 0
