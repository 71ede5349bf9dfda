// SPDX-License-Identifier: Apache-2.0
// Writes a trace from a program's calls in the order in which they happened. Gives objects their slots and finds where
// an event must wait for another lane's. Used after the fact, so it may call malloc. Layer: trace.
#ifndef HZBENCH_TRACE_WRITER_H
#define HZBENCH_TRACE_WRITER_H

#include "format.h"

#include <stdio.h>

#define WRITER_NO_SLOT UINT32_MAX

struct writer;

// `file` is open for reading and writing and stays the caller's. NULL: no memory.
struct writer *writer_begin(FILE *file, uint32_t lanes, int is_compressed);

// An object is born; `kind` up to TRACE_REALLOC_NULL. WRITER_NO_SLOT: failed, and writer_finish says why.
uint32_t writer_birth(struct writer *writer, uint32_t lane, enum trace_kind kind, uint64_t bytes, uint32_t align_bits);
// A call for a live object; `bytes` only of TRACE_REALLOC.
void writer_call(struct writer *writer, uint32_t lane, enum trace_kind kind, uint32_t slot, uint64_t bytes);

// Writes the rest and the header; frees the writer. `header` gets the totals; its threads, left_out and program are the
// caller's. 0: one line in `why`.
int writer_finish(struct writer *writer, struct trace_header *header, char *why, size_t why_bytes);

#endif
