# SPDX-License-Identifier: Apache-2.0
"""Verdicts across hosts: the same cells measured on several machines, pooled by a random-effects meta-analysis."""
