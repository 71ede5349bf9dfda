// SPDX-License-Identifier: Apache-2.0
// budget.h on Linux. A group is made below the runner's own or, where version 2 lets no group of processes have groups
// below it, beside it, or at the top of what is mounted; the first that can be made, limited and entered is taken.
// Layer: runner, system.
#include "budget.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PERIOD_US 100000u   // the kernel's own default
#define LEAST_QUOTA_US 1000 // it takes no less
#define FULL_PPM 1000000u
#define REMOVE_TRIES 200 // a process that has been waited for leaves its group a moment later
#define REMOVE_PAUSE_NS 5000000
#define PLACES 3 // where a group may be made

static const char *const means_names[] = {
    [BUDGET_CGROUP_V2] = "cgroup-v2", [BUDGET_CGROUP_V1] = "cgroup-v1", [BUDGET_RLIMIT] = "RLIMIT_DATA"};

// Returns 0 or an errno value.
static int write_text(const char *directory, const char *file, const char *text) {
    char path[BUDGET_GROUP_BYTES + 64];
    snprintf(path, sizeof path, "%s/%s", directory, file);
    const int fd = open(path, O_WRONLY | O_CLOEXEC);
    const int error = fd < 0 || write(fd, text, strlen(text)) < 0 ? errno : 0;
    if (fd >= 0)
        close(fd);
    return error;
}

static int write_number(const char *directory, const char *file, uint64_t number) {
    char text[32];
    snprintf(text, sizeof text, "%" PRIu64, number);
    return write_text(directory, file, text);
}

static int has_word(const char *list, const char *word) {
    const size_t length = strlen(word);
    for (const char *at = list; (at = strstr(at, word)) != NULL; at += length)
        if ((at == list || at[-1] == ',') && (at[length] == '\0' || at[length] == ','))
            return 1;
    return 0;
}

// ---- where ---------------------------------------------------------------------------------------------------------

// A hierarchy of groups: where it is mounted, which group is mounted there, and which one is ours.
struct hierarchy {
    char mounted_at[BUDGET_GROUP_BYTES], root[BUDGET_GROUP_BYTES], own[BUDGET_GROUP_BYTES];
};

static int find_mount(struct hierarchy *hierarchy, int version, const char *controller) {
    char line[4096], root[BUDGET_GROUP_BYTES], at[BUDGET_GROUP_BYTES], type[32], options[512];
    FILE *file = fopen("/proc/self/mountinfo", "re");
    int found = 0;
    while (file != NULL && !found && fgets(line, sizeof line, file) != NULL) {
        const char *rest = strstr(line, " - ");
        if (rest == NULL || sscanf(line, "%*s %*s %*s %511s %511s", root, at) != 2 ||
            sscanf(rest, " - %31s %*s %511s", type, options) != 2)
            continue;
        found =
            version == 2 ? strcmp(type, "cgroup2") == 0 : strcmp(type, "cgroup") == 0 && has_word(options, controller);
    }
    if (file != NULL)
        fclose(file);
    if (found) {
        snprintf(hierarchy->mounted_at, sizeof hierarchy->mounted_at, "%s", at);
        snprintf(hierarchy->root, sizeof hierarchy->root, "%s", strcmp(root, "/") == 0 ? "" : root);
    }
    return found;
}

static int find_own(struct hierarchy *hierarchy, int version, const char *controller) {
    char line[BUDGET_GROUP_BYTES + 256];
    FILE *file = fopen("/proc/self/cgroup", "re");
    int found = 0;
    while (file != NULL && !found && fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        char *list = strchr(line, ':'), *path = list != NULL ? strchr(list + 1, ':') : NULL;
        if (path == NULL)
            continue;
        *path++ = '\0';
        found = version == 2 ? list[1] == '\0' : has_word(list + 1, controller);
        if (found)
            snprintf(hierarchy->own, sizeof hierarchy->own, "%s", strcmp(path, "/") == 0 ? "" : path);
    }
    if (file != NULL)
        fclose(file);
    return found;
}

// Directories below which a group may be made, the best first.
static size_t find_places(int version, const char *controller, char places[PLACES][BUDGET_GROUP_BYTES]) {
    struct hierarchy hierarchy;
    size_t count = 0;
    if (!find_mount(&hierarchy, version, controller) || !find_own(&hierarchy, version, controller))
        return 0;
    const size_t root_length = strlen(hierarchy.root);
    const int is_visible = strncmp(hierarchy.own, hierarchy.root, root_length) == 0;
    char own[2 * BUDGET_GROUP_BYTES];
    snprintf(own, sizeof own, "%s%s", hierarchy.mounted_at, is_visible ? hierarchy.own + root_length : "");
    if (strlen(own) + 64 < BUDGET_GROUP_BYTES) {
        memcpy(places[count++], own, strlen(own) + 1);
        char *slash = strrchr(own, '/');
        if (version == 2 && strlen(own) > strlen(hierarchy.mounted_at) && slash != NULL) {
            *slash = '\0';
            memcpy(places[count++], own, strlen(own) + 1);
        }
    }
    memcpy(places[count++], hierarchy.mounted_at, sizeof hierarchy.mounted_at);
    return count;
}

// ---- groups --------------------------------------------------------------------------------------------------------

static void remove_group(char *group) {
    const struct timespec pause = {.tv_nsec = REMOVE_PAUSE_NS};
    for (int i = 0; group[0] && rmdir(group) != 0 && errno == EBUSY && i < REMOVE_TRIES; i++)
        nanosleep(&pause, NULL);
    group[0] = '\0';
}

static int limit_memory(const char *group, int version, uint64_t bytes) {
    int error;
    if (version == 2) {
        error = write_number(group, "memory.max", bytes);
        write_text(group, "memory.swap.max", "0"); // not there: no swap
        write_text(group, "memory.oom.group", "1");
    } else {
        error = write_number(group, "memory.limit_in_bytes", bytes);
        write_number(group, "memory.memsw.limit_in_bytes", bytes);
    }
    return error;
}

static int limit_cpu(const char *group, int version, uint64_t ppm) {
    uint64_t quota_us = ppm * PERIOD_US / FULL_PPM;
    char text[64];
    quota_us = quota_us < LEAST_QUOTA_US ? LEAST_QUOTA_US : quota_us;
    snprintf(text, sizeof text, "%" PRIu64 " %u", quota_us, PERIOD_US);
    if (version == 2)
        return write_text(group, "cpu.max", text);
    const int error = write_number(group, "cpu.cfs_period_us", PERIOD_US);
    return error != 0 ? error : write_number(group, "cpu.cfs_quota_us", quota_us);
}

// By a child that enters and ends. A group may be there and yet closed to us.
static int can_enter(const char *group) {
    int status = 0;
    const pid_t pid = fork();
    if (pid == 0)
        _exit(write_text(group, "cgroup.procs", "0"));
    if (pid < 0)
        return errno;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    return WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
}

struct wish {
    const char *controller;
    int (*limit)(const char *group, int version, uint64_t amount);
    uint64_t amount;
};

// Returns 0 or an errno value; `group` is the directory's path then.
static int make_group(const struct wish *wish, int version, const char *place, char *group) {
    static unsigned made;
    snprintf(group, BUDGET_GROUP_BYTES, "%.450s/hzbench-%d-%u", place, (int)getpid(), made++);
    if (mkdir(group, 0755) != 0) {
        const int error = errno;
        group[0] = '\0';
        return error;
    }
    int error = wish->limit(group, version, wish->amount);
    if (error == 0)
        error = can_enter(group);
    if (error != 0)
        remove_group(group);
    return error;
}

// Returns the means or BUDGET_NONE with the reason of the place that came nearest to it.
static enum budget_means find_group(const struct wish *wish, char *group, char *why, size_t why_bytes) {
    char places[PLACES][BUDGET_GROUP_BYTES];
    snprintf(why, why_bytes, "no %s control group is mounted", wish->controller);
    for (int version = 2; version >= 1; version--) {
        const size_t count = find_places(version, wish->controller, places);
        for (size_t i = 0; i < count; i++) {
            const int error = make_group(wish, version, places[i], group);
            if (error == 0)
                return version == 2 ? BUDGET_CGROUP_V2 : BUDGET_CGROUP_V1;
            // A hierarchy without the controller has no file of it: that says less than another reason.
            if (error != ENOENT)
                snprintf(why, why_bytes, "%.200s: %s", places[i], strerror(error));
        }
    }
    return BUDGET_NONE;
}

// ---- the whole -----------------------------------------------------------------------------------------------------

int budget_open(struct budget *budget, uint64_t memory_bytes, uint64_t cpu_ppm, char *why, size_t why_bytes) {
    const struct wish memory = {"memory", limit_memory, memory_bytes}, cpu = {"cpu", limit_cpu, cpu_ppm};
    char reason[320];
    *budget = (struct budget){.memory_bytes = memory_bytes};
    why[0] = '\0';
    if (cpu_ppm != 0) {
        budget->cpu_means = find_group(&cpu, budget->cpu_group, reason, sizeof reason);
        if (budget->cpu_means == BUDGET_NONE) {
            snprintf(
                why, why_bytes,
                "--cpu-quota: CPU time can be limited only by a cpu control group, and none can be made here (%s) - "
                "run as root or in a delegated group, or leave it out",
                reason);
            return 0;
        }
    }
    if (memory_bytes == 0)
        return 1;
    budget->memory_means = find_group(&memory, budget->memory_group, reason, sizeof reason);
    if (budget->memory_means == BUDGET_NONE) {
        budget->memory_means = BUDGET_RLIMIT;
        snprintf(why, why_bytes,
                 "--memory-limit: no memory control group can be made here (%s) - RLIMIT_DATA limits memory that is "
                 "mapped writable, touched or not",
                 reason);
    }
    return 1;
}

// What RLIMIT_DATA counts of this process now.
static uint64_t data_bytes(void) {
    char text[4096];
    const int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    const ssize_t got = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    if (fd >= 0)
        close(fd);
    text[got > 0 ? got : 0] = '\0';
    const char *found = strstr(text, "\nVmData:");
    return found != NULL ? strtoull(found + strlen("\nVmData:"), NULL, 10) * 1024 : 0;
}

int budget_enter(const struct budget *budget, int becomes_program) {
    int error = 0;
    if (budget->cpu_group[0])
        error = write_text(budget->cpu_group, "cgroup.procs", "0");
    if (error == 0 && budget->memory_group[0])
        error = write_text(budget->memory_group, "cgroup.procs", "0");
    if (error == 0 && budget->memory_means == BUDGET_RLIMIT) {
        const uint64_t bytes = budget->memory_bytes + (becomes_program ? 0 : data_bytes());
        const struct rlimit limit = {bytes, bytes};
        error = setrlimit(RLIMIT_DATA, &limit) != 0 ? errno : 0;
    }
    return error;
}

uint64_t budget_kills(const struct budget *budget) {
    const char *file = budget->memory_means == BUDGET_CGROUP_V2 ? "memory.events" : "memory.oom_control";
    char path[BUDGET_GROUP_BYTES + 64], name[64];
    uint64_t count = 0, kills = 0;
    if (!budget->memory_group[0])
        return 0;
    snprintf(path, sizeof path, "%s/%s", budget->memory_group, file);
    FILE *events = fopen(path, "re");
    while (events != NULL && fscanf(events, "%63s %" SCNu64, name, &count) == 2)
        if (strcmp(name, "oom_kill") == 0)
            kills = count;
    if (events != NULL)
        fclose(events);
    return kills;
}

void budget_close(struct budget *budget) {
    remove_group(budget->memory_group);
    remove_group(budget->cpu_group);
}

void budget_text(const struct budget *budget, char *out, size_t out_bytes) {
    const int with_memory = budget->memory_means != BUDGET_NONE, with_cpu = budget->cpu_means != BUDGET_NONE;
    snprintf(out, out_bytes, "%s%s%s%s%s", with_memory ? "memory=" : "",
             with_memory ? means_names[budget->memory_means] : "", with_memory && with_cpu ? ";" : "",
             with_cpu ? "cpu=" : "", with_cpu ? means_names[budget->cpu_means] : "");
}
