# SPDX-License-Identifier: Apache-2.0
"""The paper: what it measures (paper/paper.toml), the numbers behind each sentence, tables, figures, PDFs and
checks."""
