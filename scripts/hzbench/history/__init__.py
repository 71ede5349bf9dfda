# SPDX-License-Identifier: Apache-2.0
"""The history of results: points of many runs in a database, changes of level in their series, who made them."""
