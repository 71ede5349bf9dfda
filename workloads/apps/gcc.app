# SPDX-License-Identifier: Apache-2.0
# summary: gcc -O2 on a generated C file: the compiler proper, the assembler and the driver
# packages: gcc
# programs: gcc awk
# proof: cc1
# ops: 60
# unit: functions
# threads: 1
# kind: batch

# An op is a function of the file.
prepare() {
    awk -v count="$OPS" 'BEGIN {
        print "struct node { struct node *next; unsigned key; unsigned char text[32]; };"
        for (i = 0; i < count; i++) {
            printf "unsigned work_%d(struct node *list, unsigned salt);\n", i
            printf "unsigned work_%d(struct node *list, unsigned salt) {\n    unsigned sum = %du;\n", i, i * 2654435761 % 4294967296
            printf "    for (struct node *at = list; at != 0; at = at->next) {\n        switch (at->key %% 16) {\n"
            for (k = 0; k < 16; k++)
                printf "        case %d: sum = (sum << %d | sum >> %d) ^ at->text[%d] * salt; break;\n", k, k + 1, 31 - k, k * 2
            print "        }\n        for (unsigned i = 0; i < sizeof at->text; i++)\n            at->text[i] ^= (unsigned char)(sum >> (i % 4 * 8));"
            print "    }\n    return sum;\n}\n"
        }
    }' >"$DIR/source.c"
}

work() {
    exec gcc -O2 -c "$DIR/source.c" -o "$DIR/object.o"
}
