// SPDX-License-Identifier: Apache-2.0
// The part of jansson's interface that provenance.c uses, with jansson's names and meaning, for builds that have no
// jansson (Debian packages none for Windows). Documents of this project only: numbers are integers or short reals, and
// memory that runs out ends the program. Layer: runner.
#ifndef HZBENCH_WINDOWS_JANSSON_H
#define HZBENCH_WINDOWS_JANSSON_H

#include <stddef.h>

typedef struct json_value json_t; // jansson's names
typedef long long json_int_t;

#define JSON_INTEGER_FORMAT "lld"
#define JSON_INDENT(n) ((size_t)(n))

json_t *json_object(void);
json_t *json_array(void);
json_t *json_null(void);
json_t *json_boolean(int value);
json_t *json_integer(json_int_t value);
json_t *json_real(double value);
json_t *json_string(const char *text); // NULL when the text is not UTF-8

// Takes the value over. Returns 0, or -1 when one of them is NULL.
int json_object_set_new(json_t *object, const char *key, json_t *value);
int json_array_append_new(json_t *array, json_t *value);

// Of the format: objects and arrays of o (takes over), s, i, I and b.
json_t *json_pack(const char *format, ...);

json_t *json_object_get(const json_t *object, const char *key);
json_t *json_array_get(const json_t *array, size_t index);
const char *json_string_value(const json_t *value);
json_int_t json_integer_value(const json_t *value);
int json_is_integer(const json_t *value);

char *json_dumps(const json_t *value, size_t indent); // to be freed; never NULL but for NULL
json_t *json_load_file(const char *path, size_t flags, void *error);
void json_decref(json_t *value);

#endif
