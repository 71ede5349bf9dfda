// SPDX-License-Identifier: Apache-2.0
// What provenance.c expects of jansson, held against jansson itself on Linux and against
// runner/results/windows/jansson.c where that stands in for it: the same calls, the same text.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#define FILE_NAME "json_test.json"

static json_t *document(void) {
    json_t *list = json_array();
    json_array_append_new(list, json_integer(INT64_MAX));
    json_array_append_new(list, json_null());
    return json_pack("{s:i, s:s, s:{s:b, s:b, s:I}, s:o, s:[o], s:o}", "schema", 2, "text",
                     "a \"quoted\" \\ back\tslash\nand \xc3\xa9 \xf0\x9f\x98\x80 \x01", "inner", "yes", 1, "no", 0,
                     "many", (json_int_t)-5, "list", list, "one", json_string(""), "real", json_real(2.5));
}

static const char *const expected = "{\n  \"schema\": 2,\n"
                                    "  \"text\": \"a \\\"quoted\\\" \\\\ back\\tslash\\nand \xc3\xa9 \xf0\x9f\x98\x80 "
                                    "\\u0001\",\n"
                                    "  \"inner\": {\n    \"yes\": true,\n    \"no\": false,\n    \"many\": -5\n  },\n"
                                    "  \"list\": [\n    9223372036854775807,\n    null\n  ],\n"
                                    "  \"one\": [\n    \"\"\n  ],\n  \"real\": 2.5\n}";

static void writes_as_jansson(void **state) {
    (void)state;
    json_t *value = document();
    char *text = json_dumps(value, JSON_INDENT(2));
    assert_string_equal(text, expected);
    free(text);
    json_decref(value);
}

static void write_file(const char *text) {
    FILE *file = fopen(FILE_NAME, "wb");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void reads_what_it_writes(void **state) {
    (void)state;
    write_file(expected);
    json_t *value = json_load_file(FILE_NAME, 0, NULL);
    assert_non_null(value);
    char *text = json_dumps(value, JSON_INDENT(2));
    assert_string_equal(text, expected);
    assert_int_equal(json_integer_value(json_object_get(value, "schema")), 2);
    assert_true(json_is_integer(json_object_get(value, "schema")));
    assert_null(json_object_get(value, "absent"));
    assert_null(json_string_value(json_object_get(value, "schema")));
    assert_string_equal(json_string_value(json_array_get(json_object_get(value, "one"), 0)), "");
    assert_null(json_array_get(json_object_get(value, "one"), 1));
    free(text);
    json_decref(value);
    remove(FILE_NAME);
}

static void replaces_and_adds(void **state) {
    (void)state;
    json_t *value = json_object();
    assert_int_equal(json_object_set_new(value, "key", json_integer(1)), 0);
    assert_int_equal(json_object_set_new(value, "key", json_string("new")), 0);
    assert_int_equal(json_object_set_new(value, "key", NULL), -1);
    assert_int_equal(json_array_append_new(NULL, NULL), -1);
    assert_string_equal(json_string_value(json_object_get(value, "key")), "new");
    json_decref(value);
}

static void refuses_what_is_not_utf8(void **state) {
    (void)state;
    static const char *const bad[] = {"\x80", "\xc3", "\xc0\xaf", "\xe0\x80\x80", "\xed\xa0\x80", "\xf5\x80\x80\x80",
                                      "a\xff"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_null(json_string(bad[i]));
}

static void refuses_what_is_not_json(void **state) {
    (void)state;
    static const char *const bad[] = {"",        "{",       "{\"a\" 1}", "{\"a\": 1,}", "[1, 2",
                                      "[1 2]",   "{1: 2}",  "\"open",    "\"bad \\q\"", "[tru]",
                                      "[1] [2]", "[1.5.5]", "[\"\n\"]",  "[\"\\u12\"]", "nothing"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        write_file(bad[i]);
        json_t *value = json_load_file(FILE_NAME, 0, NULL);
        if (value != NULL)
            fail_msg("accepted: %s", bad[i]);
    }
    assert_null(json_load_file("absent.json", 0, NULL));
    write_file("[\"\\u00e9\\u20ac\\/\"]");
    json_t *value = json_load_file(FILE_NAME, 0, NULL);
    assert_non_null(value);
    assert_string_equal(json_string_value(json_array_get(value, 0)), "\xc3\xa9\xe2\x82\xac/");
    json_decref(value);
    remove(FILE_NAME);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_as_jansson),        cmocka_unit_test(reads_what_it_writes),
        cmocka_unit_test(replaces_and_adds),        cmocka_unit_test(refuses_what_is_not_utf8),
        cmocka_unit_test(refuses_what_is_not_json),
    };
    return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
