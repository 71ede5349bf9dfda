// SPDX-License-Identifier: Apache-2.0
// machine.h on Linux: one line each of /proc and /sys. Layer: runner.
#include "machine_linux.h"
#include "machine.h"

#include <gnu/libc-version.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *const machine_facts[] = {"kernel",
                                     "kernel_build",
                                     "governor",
                                     "frequency_driver",
                                     "transparent_hugepages",
                                     "overcommit",
                                     "max_map_count",
                                     "swappiness",
                                     "aslr",
                                     "perf_event_paranoid",
                                     "clocksource",
                                     "smt",
                                     "libc",
                                     NULL};

static const struct {
    const char *fact, *path;
} files[] = {
    {"kernel", "/proc/sys/kernel/osrelease"},
    {"kernel_build", "/proc/sys/kernel/version"},
    {"governor", "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"},
    {"frequency_driver", "/sys/devices/system/cpu/cpu0/cpufreq/scaling_driver"},
    {"transparent_hugepages", "/sys/kernel/mm/transparent_hugepage/enabled"},
    {"overcommit", "/proc/sys/vm/overcommit_memory"},
    {"max_map_count", "/proc/sys/vm/max_map_count"},
    {"swappiness", "/proc/sys/vm/swappiness"},
    {"aslr", "/proc/sys/kernel/randomize_va_space"},
    {"perf_event_paranoid", "/proc/sys/kernel/perf_event_paranoid"},
    {"clocksource", "/sys/devices/system/clocksource/clocksource0/current_clocksource"},
    {"smt", "/sys/devices/system/cpu/smt/control"},
};

void machine_read_line(const char *path, char *out, size_t out_bytes) {
    FILE *file = fopen(path, "re");
    out[0] = '\0';
    if (file == NULL)
        return;
    if (fgets(out, (int)out_bytes, file) == NULL)
        out[0] = '\0';
    out[strcspn(out, "\n")] = '\0';
    fclose(file);
}

void machine_read(const char *fact, char *out, size_t out_bytes) {
    out[0] = '\0';
    if (strcmp(fact, "libc") == 0)
        snprintf(out, out_bytes, "glibc %s", gnu_get_libc_version());
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        if (strcmp(files[i].fact, fact) == 0)
            machine_read_line(files[i].path, out, out_bytes);
}

void machine_identity(char *out, size_t out_bytes) {
    char id[128], host[128];
    machine_read_line("/etc/machine-id", id, sizeof id);
    machine_read_line("/proc/sys/kernel/hostname", host, sizeof host);
    snprintf(out, out_bytes, "%s\n%s", id, host);
}

static int cpu_has_flag(const char *flag) {
    char line[8192], padded[64];
    int found = 0;
    FILE *file = fopen("/proc/cpuinfo", "re");
    snprintf(padded, sizeof padded, " %s", flag);
    while (file != NULL && !found && fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, "flags", 5) == 0) {
            const char *at = strstr(line, padded);
            found = at != NULL && strchr(" \n", at[strlen(padded)]) != NULL;
            break;
        }
    if (file != NULL)
        fclose(file);
    return found;
}

void machine_virtualisation(char *out, size_t out_bytes) {
    char product[96];
    int in_container =
        access("/.dockerenv", F_OK) == 0 || access("/run/.containerenv", F_OK) == 0 || getenv("container") != NULL;
    machine_read_line("/sys/class/dmi/id/product_name", product, sizeof product);
    if (!cpu_has_flag("hypervisor"))
        snprintf(out, out_bytes, "%s", in_container ? "container" : "none");
    else
        snprintf(out, out_bytes, "virtual machine%s%s%s%s", product[0] ? " (" : "", product, product[0] ? ")" : "",
                 in_container ? ", container" : "");
}
