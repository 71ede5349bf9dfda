# SPDX-License-Identifier: Apache-2.0
"""scripts/cluster: one plan measured on the nodes of a Slurm cluster, on hosts reached by ssh, or here."""
