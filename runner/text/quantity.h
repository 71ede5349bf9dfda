// SPDX-License-Identifier: Apache-2.0
// Quantities as a user writes them: 500k, 64KiB, 10ms, 90%, 1,2,4 or 0-3. Layer: runner, text.
#ifndef HZBENCH_QUANTITY_H
#define HZBENCH_QUANTITY_H

#include <stddef.h>
#include <stdint.h>

// Each reads the whole text and returns 1, or 0 when it is no such quantity.
int quantity_count(const char *text, uint64_t *out);                   // 1000, 500k, 2M, 1G
int quantity_time(const char *text, uint64_t *out_ns);                 // 10ms, 2s, 5min, 2h; 0 needs no unit
int quantity_sizes(const char *text, uint64_t *least, uint64_t *most); // 64, 16..64KiB

// "90%" or "12.5%" as millionths. 0: no such text; -1: not between 0 and 100.
int quantity_share(const char *text, uint32_t *ppm);

// A list of CPUs or counts such as "1,2,4" or "0-3,8". Returns how many, 0 when the text is no such list.
size_t quantity_numbers(const char *text, uint32_t *out, size_t capacity);

// Number of the name among `count`; -1: none of them.
int quantity_name(const char *text, const char *const *names, size_t count);

// Cuts the next item off a list with commas; those inside braces belong to the item. NULL at the end.
char *quantity_next_item(char **list);

#endif
