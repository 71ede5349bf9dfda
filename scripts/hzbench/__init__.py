# SPDX-License-Identifier: Apache-2.0
"""Analysis of hzbench result files: load, stats, tables, figures, compare. Reads files only, never runs a cell."""
