// SPDX-License-Identifier: Apache-2.0
// jansson.h beside this file. A value owns its text and its children; nothing is shared, so there is nothing to count.
#include "jansson.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 64 // of a file that is read; ours have five levels

enum kind { KIND_NULL, KIND_TRUE, KIND_FALSE, KIND_INTEGER, KIND_REAL, KIND_STRING, KIND_ARRAY, KIND_OBJECT };

struct json_value {
    enum kind kind;
    json_int_t integer;
    double real;
    char *text; // of a string
    size_t count;
    struct json_value **values; // of an array or object
    char **keys;                // of an object, as many as values
};

static void *must(void *memory) {
    if (memory == NULL) {
        fputs("runner: out of memory\n", stderr);
        exit(3);
    }
    return memory;
}

static json_t *value_of(enum kind kind) {
    json_t *value = must(calloc(1, sizeof *value));
    value->kind = kind;
    return value;
}

json_t *json_object(void) {
    return value_of(KIND_OBJECT);
}

json_t *json_array(void) {
    return value_of(KIND_ARRAY);
}

json_t *json_null(void) {
    return value_of(KIND_NULL);
}

json_t *json_boolean(int value) {
    return value_of(value != 0 ? KIND_TRUE : KIND_FALSE);
}

json_t *json_integer(json_int_t number) {
    json_t *value = value_of(KIND_INTEGER);
    value->integer = number;
    return value;
}

json_t *json_real(double number) {
    json_t *value = value_of(KIND_REAL);
    value->real = number;
    return value;
}

// Length of the UTF-8 sequence at `at`, 0 when there is none.
static size_t sequence_bytes(const unsigned char *at) {
    size_t bytes = at[0] < 0x80 ? 1 : at[0] >= 0xc2 && at[0] < 0xe0 ? 2 : (at[0] & 0xf0) == 0xe0 ? 3 : 4;
    if (bytes == 4 && (at[0] < 0xf0 || at[0] > 0xf4))
        return 0;
    for (size_t i = 1; i < bytes; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    // Too long a form, a surrogate, or beyond the last code point.
    if ((at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xed && at[1] > 0x9f) || (at[0] == 0xf0 && at[1] < 0x90) ||
        (at[0] == 0xf4 && at[1] > 0x8f))
        return 0;
    return bytes;
}

json_t *json_string(const char *text) {
    if (text == NULL)
        return NULL;
    for (const unsigned char *at = (const unsigned char *)text; *at != '\0';) {
        size_t bytes = sequence_bytes(at);
        if (bytes == 0)
            return NULL;
        at += bytes;
    }
    json_t *value = value_of(KIND_STRING);
    value->text = must(strdup(text));
    return value;
}

static int append(json_t *parent, char *key, json_t *value) {
    parent->values = must(realloc(parent->values, (parent->count + 1) * sizeof *parent->values));
    if (parent->kind == KIND_OBJECT) {
        parent->keys = must(realloc(parent->keys, (parent->count + 1) * sizeof *parent->keys));
        parent->keys[parent->count] = key;
    }
    parent->values[parent->count++] = value;
    return 0;
}

int json_object_set_new(json_t *object, const char *key, json_t *value) {
    if (object == NULL || value == NULL)
        return -1;
    for (size_t i = 0; i < object->count; i++)
        if (strcmp(object->keys[i], key) == 0) {
            json_decref(object->values[i]);
            object->values[i] = value;
            return 0;
        }
    return append(object, must(strdup(key)), value);
}

int json_array_append_new(json_t *array, json_t *value) {
    return array != NULL && value != NULL ? append(array, NULL, value) : -1;
}

// ---- packing -------------------------------------------------------------------------------------------------------

static char next_of(const char **format) {
    while (**format != '\0' && strchr(" :,", **format) != NULL)
        (*format)++;
    return **format != '\0' ? *(*format)++ : '\0';
}

// A va_list as a parameter may be an array; inside a structure it is passed on as one object.
struct arguments {
    va_list list;
};

static json_t *pack(const char **format, struct arguments *arguments, char unit) {
    json_t *value = NULL;
    switch (unit) {
    case 'o':
        return va_arg(arguments->list, json_t *);
    case 's':
        return json_string(va_arg(arguments->list, const char *));
    case 'i':
        return json_integer(va_arg(arguments->list, int));
    case 'I':
        return json_integer(va_arg(arguments->list, json_int_t));
    case 'b':
        return json_boolean(va_arg(arguments->list, int));
    case '[':
        value = json_array();
        for (char next = next_of(format); next != ']' && next != '\0'; next = next_of(format))
            json_array_append_new(value, pack(format, arguments, next));
        return value;
    case '{':
        value = json_object();
        for (char next = next_of(format); next != '}' && next != '\0'; next = next_of(format)) {
            const char *key = va_arg(arguments->list, const char *); // `next` is the key's own s
            json_object_set_new(value, key, pack(format, arguments, next_of(format)));
        }
        return value;
    default:
        return NULL;
    }
}

json_t *json_pack(const char *format, ...) {
    struct arguments arguments;
    va_start(arguments.list, format);
    json_t *value = pack(&format, &arguments, next_of(&format));
    va_end(arguments.list);
    return value;
}

// ---- looking -------------------------------------------------------------------------------------------------------

json_t *json_object_get(const json_t *object, const char *key) {
    for (size_t i = 0; object != NULL && object->kind == KIND_OBJECT && i < object->count; i++)
        if (strcmp(object->keys[i], key) == 0)
            return object->values[i];
    return NULL;
}

json_t *json_array_get(const json_t *array, size_t index) {
    return array != NULL && array->kind == KIND_ARRAY && index < array->count ? array->values[index] : NULL;
}

const char *json_string_value(const json_t *value) {
    return value != NULL && value->kind == KIND_STRING ? value->text : NULL;
}

int json_is_integer(const json_t *value) {
    return value != NULL && value->kind == KIND_INTEGER;
}

json_int_t json_integer_value(const json_t *value) {
    return json_is_integer(value) ? value->integer : 0;
}

void json_decref(json_t *value) {
    if (value == NULL)
        return;
    for (size_t i = 0; i < value->count; i++) {
        if (value->kind == KIND_OBJECT)
            free(value->keys[i]);
        json_decref(value->values[i]);
    }
    free(value->keys);
    free(value->values);
    free(value->text);
    free(value);
}

// ---- writing -------------------------------------------------------------------------------------------------------

struct text {
    char *bytes;
    size_t used, room;
};

static void add(struct text *text, const char *bytes, size_t count) {
    if (text->used + count + 1 > text->room) {
        text->room = 2 * (text->used + count + 1);
        text->bytes = must(realloc(text->bytes, text->room));
    }
    memcpy(text->bytes + text->used, bytes, count);
    text->used += count;
    text->bytes[text->used] = '\0';
}

static void add_text(struct text *text, const char *bytes) {
    add(text, bytes, strlen(bytes));
}

static void add_string(struct text *text, const char *from) {
    static const char special[] = "\"\\\b\f\n\r\t", names[] = "\"\\bfnrt";
    add(text, "\"", 1);
    for (; *from != '\0'; from++) {
        const char *found = strchr(special, *from);
        char escape[8];
        if (found != NULL)
            snprintf(escape, sizeof escape, "\\%c", names[found - special]);
        else
            snprintf(escape, sizeof escape, (unsigned char)*from < ' ' ? "\\u%04x" : "%c", *from);
        add_text(text, escape);
    }
    add(text, "\"", 1);
}

static void add_line(struct text *text, size_t indent) {
    add(text, "\n", 1);
    while (indent-- > 0)
        add(text, " ", 1);
}

static void add_value(struct text *text, const json_t *value, size_t indent, size_t depth) {
    static const char *const words[] = {[KIND_NULL] = "null", [KIND_TRUE] = "true", [KIND_FALSE] = "false"};
    const int is_object = value->kind == KIND_OBJECT;
    char number[40];
    switch (value->kind) {
    case KIND_NULL:
    case KIND_TRUE:
    case KIND_FALSE:
        add_text(text, words[value->kind]);
        break;
    case KIND_INTEGER:
        snprintf(number, sizeof number, "%" JSON_INTEGER_FORMAT, value->integer);
        add_text(text, number);
        break;
    case KIND_REAL:
        snprintf(number, sizeof number, "%.17g", value->real);
        add_text(text, number);
        if (strpbrk(number, ".e") == NULL)
            add_text(text, ".0"); // stays a real when it is read
        break;
    case KIND_STRING:
        add_string(text, value->text);
        break;
    case KIND_ARRAY:
    case KIND_OBJECT:
        add_text(text, is_object ? "{" : "[");
        for (size_t i = 0; i < value->count; i++) {
            add_text(text, i > 0 ? "," : "");
            add_line(text, indent * (depth + 1));
            if (is_object) {
                add_string(text, value->keys[i]);
                add_text(text, ": ");
            }
            add_value(text, value->values[i], indent, depth + 1);
        }
        if (value->count > 0)
            add_line(text, indent * depth);
        add_text(text, is_object ? "}" : "]");
        break;
    }
}

char *json_dumps(const json_t *value, size_t indent) {
    struct text text = {0};
    if (value != NULL)
        add_value(&text, value, indent, 0);
    return text.bytes;
}

// ---- reading -------------------------------------------------------------------------------------------------------

static json_t *read_value(const char **at, int depth);

static void skip_space(const char **at) {
    while (**at != '\0' && strchr(" \t\r\n", **at) != NULL)
        (*at)++;
}

static int take(const char **at, const char *word) {
    skip_space(at);
    if (strncmp(*at, word, strlen(word)) != 0)
        return 0;
    *at += strlen(word);
    return 1;
}

static void add_code_point(struct text *text, unsigned long code) {
    const char bytes[] = {(char)(code < 0x80    ? code
                                 : code < 0x800 ? 0xc0 | code >> 6
                                                : 0xe0 | code >> 12),
                          (char)(code < 0x800 ? 0x80 | (code & 0x3f) : 0x80 | (code >> 6 & 0x3f)),
                          (char)(0x80 | (code & 0x3f))};
    add(text, bytes, code < 0x80 ? 1 : code < 0x800 ? 2 : 3);
}

// Behind the opening quote; NULL when it does not end well.
static char *read_string(const char **at) {
    static const char names[] = "\"\\/bfnrt", special[] = "\"\\/\b\f\n\r\t";
    struct text text = {0};
    add(&text, "", 0);
    for (; **at != '"'; (*at)++) {
        const char *found;
        if ((unsigned char)**at < ' ')
            break;
        if (**at != '\\') {
            add(&text, *at, 1);
        } else if ((*at)[1] == 'u') {
            char digits[5] = "", *end = digits;
            strncpy(digits, *at + 2, 4);
            unsigned long code = strtoul(digits, &end, 16);
            if (end != digits + 4 || code == 0 || (code >= 0xd800 && code < 0xe000))
                break; // json_dumps() writes what lies beyond as it is
            add_code_point(&text, code);
            *at += 5;
        } else if ((*at)[1] != '\0' && (found = strchr(names, (*at)[1])) != NULL) {
            add(&text, special + (found - names), 1);
            (*at)++;
        } else {
            break;
        }
    }
    if (**at != '"') {
        free(text.bytes);
        return NULL;
    }
    (*at)++;
    return text.bytes;
}

static json_t *read_members(const char **at, enum kind kind, int depth) {
    const char *close = kind == KIND_OBJECT ? "}" : "]";
    json_t *parent = value_of(kind);
    if (take(at, close))
        return parent;
    do {
        char *key = NULL;
        if (kind == KIND_OBJECT) {
            key = take(at, "\"") ? read_string(at) : NULL;
            if (key == NULL || !take(at, ":")) {
                free(key);
                json_decref(parent);
                return NULL;
            }
        }
        json_t *value = read_value(at, depth + 1);
        if (value == NULL) {
            free(key);
            json_decref(parent);
            return NULL;
        }
        append(parent, key, value);
    } while (take(at, ","));
    if (take(at, close))
        return parent;
    json_decref(parent);
    return NULL;
}

static json_t *read_number(const char **at) {
    char *end;
    const size_t length = strspn(*at, "+-0123456789.eE");
    const int is_real = strcspn(*at, ".eE") < length;
    json_t *value = is_real ? json_real(strtod(*at, &end)) : json_integer(strtoll(*at, &end, 10));
    if (length > 0 && end == *at + length) {
        *at = end;
        return value;
    }
    json_decref(value);
    return NULL;
}

static json_t *read_value(const char **at, int depth) {
    if (depth > DEPTH_MAX)
        return NULL;
    if (take(at, "{"))
        return read_members(at, KIND_OBJECT, depth);
    if (take(at, "["))
        return read_members(at, KIND_ARRAY, depth);
    if (take(at, "\"")) {
        char *text = read_string(at);
        json_t *value = json_string(text);
        free(text);
        return value;
    }
    if (take(at, "null"))
        return json_null();
    if (take(at, "true"))
        return value_of(KIND_TRUE);
    if (take(at, "false"))
        return value_of(KIND_FALSE);
    return read_number(at);
}

json_t *json_load_file(const char *path, size_t flags, void *error) {
    (void)flags;
    (void)error;
    struct text text = {0};
    char block[4096];
    size_t got;
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return NULL;
    add(&text, "", 0);
    while ((got = fread(block, 1, sizeof block, file)) > 0)
        add(&text, block, got);
    int is_whole = !ferror(file) && strlen(text.bytes) == text.used;
    fclose(file);
    const char *at = text.bytes;
    json_t *value = is_whole ? read_value(&at, 0) : NULL;
    skip_space(&at);
    if (*at != '\0') {
        json_decref(value);
        value = NULL;
    }
    free(text.bytes);
    return value;
}
