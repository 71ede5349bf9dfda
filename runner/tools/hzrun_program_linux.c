// SPDX-License-Identifier: Apache-2.0
// Which file a command names, and whether the dynamic linker will honour LD_PRELOAD in it: a missing or static program,
// one of another machine and one with foreign privileges are told apart before anything runs. Layer: runner.
#include "hzrun.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define SCRIPTS_MAX 4 // an interpreter may be a script; the kernel follows as many

#if defined(__x86_64__)
#define THIS_MACHINE EM_X86_64
#elif defined(__aarch64__)
#define THIS_MACHINE EM_AARCH64
#else
#error "say what ELF calls this machine"
#endif

static int is_runnable(const char *path) {
    struct stat status;
    return stat(path, &status) == 0 && S_ISREG(status.st_mode) && access(path, X_OK) == 0;
}

static int find(const char *name, char *file, char *why, size_t why_bytes) {
    const char *list = getenv("PATH");
    if (strchr(name, '/') != NULL) {
        snprintf(file, HZRUN_PATH_BYTES, "%s", name);
        if (is_runnable(file))
            return 1;
        snprintf(why, why_bytes, "%s: %s - give a program to run", name,
                 access(name, F_OK) != 0 ? strerror(errno) : "not an executable file");
        return 0;
    }
    for (list = list != NULL ? list : "/usr/bin:/bin"; *list != '\0';) {
        size_t length = strcspn(list, ":");
        snprintf(file, HZRUN_PATH_BYTES, "%.*s%s%s", (int)length, list, length != 0 ? "/" : "./", name);
        if (is_runnable(file))
            return 1;
        list += length + (list[length] != '\0');
    }
    snprintf(why, why_bytes, "%s: no such program in PATH - %s", name,
             name[strcspn(name, " |;&<>$")] != '\0' ? "a shell command goes in as: sh -c 'COMMAND'" : "check the name");
    return 0;
}

// Privileges that the caller does not have make the linker ignore what the caller wants preloaded.
static int is_privileged(const char *file) {
    struct stat status;
    if (stat(file, &status) != 0)
        return 0;
    if ((status.st_mode & S_ISUID) != 0 && status.st_uid != getuid())
        return 1;
    if ((status.st_mode & S_ISGID) != 0 && status.st_gid != getgid())
        return 1;
    return getuid() != 0 && getxattr(file, "security.capability", NULL, 0) > 0;
}

static const char *image_problem(int fd, const unsigned char *head, size_t bytes) {
    Elf64_Ehdr elf;
    if (bytes < sizeof elf || memcmp(head, ELFMAG, SELFMAG) != 0)
        return NULL; // no ELF: the kernel or a shell will say what it is
    if (head[EI_CLASS] != ELFCLASS64)
        return "a 32-bit program; the allocators are 64-bit libraries";
    memcpy(&elf, head, sizeof elf);
    if (elf.e_machine != THIS_MACHINE)
        return "a program for another machine";
    for (unsigned i = 0; i < elf.e_phnum; i++) {
        Elf64_Phdr segment;
        if (pread(fd, &segment, sizeof segment, (off_t)(elf.e_phoff + (Elf64_Off)i * sizeof segment)) !=
            (ssize_t)sizeof segment)
            break;
        if (segment.p_type == PT_INTERP)
            return NULL;
    }
    return "statically linked: no dynamic linker looks at preloaded libraries there";
}

// Follows scripts to the program that will really run.
static int can_take(const char *file, char *why, size_t why_bytes) {
    char path[HZRUN_PATH_BYTES];
    snprintf(path, sizeof path, "%s", file);
    for (int depth = 0; depth <= SCRIPTS_MAX; depth++) {
        const char *reason = is_privileged(path) ? "runs with privileges of its own (setuid, setgid or capabilities), "
                                                   "where the linker ignores preloaded libraries"
                                                 : NULL;
        unsigned char head[HZRUN_PATH_BYTES];
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t got = fd >= 0 ? read(fd, head, sizeof head - 1) : -1;
        head[got > 0 ? got : 0] = '\0';
        if (reason == NULL && got > 0)
            reason = image_problem(fd, head, (size_t)got);
        if (fd >= 0)
            close(fd);
        if (reason != NULL) {
            snprintf(why, why_bytes, "%s: %s - nothing was started", path, reason);
            return 0;
        }
        if (got < 3 || head[0] != '#' || head[1] != '!')
            return 1; // a dynamic program, or one that may be executed but not read: the proof will tell
        char *interpreter = (char *)head + 2;
        interpreter += strspn(interpreter, " \t");
        interpreter[strcspn(interpreter, " \t\r\n")] = '\0';
        if (!is_runnable(interpreter)) {
            snprintf(why, why_bytes, "%s: its interpreter '%s' is not there - nothing was started", path, interpreter);
            return 0;
        }
        memmove(path, interpreter, strlen(interpreter) + 1);
    }
    return 1;
}

int hzrun_find_program(struct hzrun *run, char *why, size_t why_bytes) {
    return find(run->program[0], run->file, why, why_bytes) && can_take(run->file, why, why_bytes);
}
