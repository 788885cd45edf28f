#!/bin/bash

# Parameters
#SBATCH --array=0,2%1
#SBATCH --cpus-per-task=4
#SBATCH --error='/runs/it'"'"'s/logs/launch-1/%A_%a_0_log.err'
#SBATCH --exclude=node7,node3
#SBATCH --gpus-per-node=1
#SBATCH --job-name=a-launch-1.2.10
#SBATCH --mail-user=a@b
#SBATCH --mem=12GB
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --open-mode=append
#SBATCH --output='/runs/it'"'"'s/logs/launch-1/%A_%a_0_log.out'
#SBATCH --partition=gpu
#SBATCH --signal=USR2@120
#SBATCH --time=30

# setup
module load cuda

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output '/runs/it'"'"'s/logs/launch-1/%A_%a_%t_log.out' --error '/runs/it'"'"'s/logs/launch-1/%A_%a_%t_log.err' python -u -m jobs.execute.job '/runs/it'"'"'s/logs/launch-1' 2 10
