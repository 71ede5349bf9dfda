# SPDX-License-Identifier: Apache-2.0
# summary: python3 with every object from malloc: dictionaries, JSON, strings, sorting, a cache that evicts
# packages: python3
# programs: python3
# proof: python3
# ops: 10000
# unit: records
# threads: 1
# kind: batch

# PYTHONMALLOC=malloc: else Python's own allocator would stand between.
work() {
    PYTHONMALLOC=malloc PYTHONHASHSEED=0 exec python3 -I "$APPS/python-work.py" "$OPS"
}
