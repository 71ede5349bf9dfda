// SPDX-License-Identifier: Apache-2.0
// The situations in which preloaded allocators are known to break programs, a function each, with the number it has in
// docs/preload.md. Each runs in a fresh process. Usage: situations [NAME]; preloaded, with bad frees counted. Layer:
// test.
#include "../support/cases.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SECONDS 120

static uint64_t rejects(void) {
    struct allocator_stats stats;
    uint64_t sum = 0;
    test_table()->stats(&stats);
    for (int i = 0; i < ALLOCATOR_REJECT_COUNT; i++)
        sum += stats.rejects[i];
    return sum;
}

// All sizes and ways, everything checked.
static void use_heap(void) {
    for (size_t bytes = 1; bytes < 3000000; bytes += bytes / 2 + 1) {
        unsigned char *block = calloc(1, bytes);
        EXPECT(block != NULL && block[0] == 0 && block[bytes - 1] == 0);
        memset(block, 7, bytes < 100 ? bytes : 100);
        block = realloc(block, bytes + bytes / 3 + 1);
        EXPECT(block != NULL && block[0] == 7);
        free(block);
        block = memalign(256, bytes);
        EXPECT(block != NULL && (uintptr_t)block % 256 == 0);
        free(block);
    }
}

static void *use_heap_in_thread(void *argument) {
    use_heap();
    return argument;
}

// ---- before main --------------------------------------------------------------------------------------------------

static char *before_main;

// Before every constructor, the C library's among them.
static void before_constructors(int argc, char **argv, char **variables) {
    (void)argc;
    (void)argv;
    (void)variables;
    before_main = malloc(100);
}
__attribute__((section(".preinit_array"), used)) static void (*const preinit)(int, char **,
                                                                              char **) = before_constructors;

static void early_block(void) {
    EXPECT(before_main != NULL && malloc_usable_size(before_main) >= 100);
    before_main = realloc(before_main, 100000);
    EXPECT(before_main != NULL);
    free(before_main);
    use_heap();
}

static void early_settings(void) {
    // The first malloc came before getenv() worked; the settings (reject=count) must be known all the same.
    char local[64] = "";
    uint64_t before = rejects();
    void *volatile stack = local;
    free(stack);
    EXPECT(rejects() == before + 1);
}

// ---- threads and their end ----------------------------------------------------------------------------------------

static void tls_is_static(void) {
    Dl_info info;
    struct stat status;
    EXPECT(dladdr((const void *)test_table(), &info) != 0);
    int fd = open(info.dli_fname, O_RDONLY);
    EXPECT(fd >= 0 && fstat(fd, &status) == 0);
    void *image = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    EXPECT(image != MAP_FAILED);
    // The dynamic linker's allocator of thread-local memory may itself allocate.
    EXPECT(memmem(image, (size_t)status.st_size, "__tls_get_addr", 14) == NULL);
}

static pthread_key_t keys[60];

// Takes and leaves a block in every round of destructors.
static void key_destructor(void *value) {
    free(value);
    void *block = malloc(3000);
    EXPECT(block != NULL);
    free(block);
    static _Thread_local int rounds;
    if (rounds++ < 30) // well within the rounds that POSIX grants
        pthread_setspecific(keys[rounds % COUNT(keys)], malloc((size_t)rounds * 50));
}

extern int __cxa_thread_atexit_impl(void (*function)(void *), void *object, void *dso);
extern void *__dso_handle;

static void thread_local_destructor(void *block) {
    free(block);
    use_heap();
}

static void *die_with_keys(void *argument) {
    for (size_t i = 0; i < COUNT(keys); i++)
        pthread_setspecific(keys[i], malloc(100 + i));
    strerror(99999); // the C library frees what belongs to these after all destructors
    dlopen("/no/such/library.so", RTLD_NOW);
    __cxa_thread_atexit_impl(thread_local_destructor, malloc(77), &__dso_handle);
    return argument;
}

static void run_threads(unsigned count, void *(*function)(void *)) {
    for (unsigned i = 0; i < count; i++) {
        pthread_t thread;
        EXPECT(pthread_create(&thread, NULL, function, NULL) == 0);
        EXPECT(pthread_join(thread, NULL) == 0);
    }
}

static void thread_exit_allocates(void) {
    for (size_t i = 0; i < COUNT(keys); i++)
        EXPECT(pthread_key_create(&keys[i], key_destructor) == 0);
    run_threads(30, die_with_keys);
    malloc_trim(0);
    long before = test_resident_kib();
    run_threads(300, die_with_keys);
    malloc_trim(0);
    EXPECT(test_resident_kib() - before < 4096); // no heap is left behind with each thread
    EXPECT(rejects() == 0);
}

// Allocates in the last round, too, when the destructors of all older keys are over.
static void every_round_destructor(void *value) {
    static _Thread_local int rounds;
    free(value);
    for (size_t bytes = 16; bytes <= 100000; bytes = bytes * 3 + 7) {
        char *block = malloc(bytes);
        EXPECT(block != NULL);
        block[bytes - 1] = 1;
        free(block);
    }
    if (++rounds < PTHREAD_DESTRUCTOR_ITERATIONS)
        pthread_setspecific(keys[0], malloc(777));
}

static void *die_in_every_round(void *argument) {
    pthread_setspecific(keys[0], malloc(777));
    return argument;
}

static void every_round_allocates(void) {
    EXPECT(pthread_key_create(&keys[0], every_round_destructor) == 0);
    run_threads(30, die_in_every_round);
    malloc_trim(0);
    long before = test_resident_kib();
    run_threads(600, die_in_every_round);
    malloc_trim(0);
    EXPECT(test_resident_kib() - before < 1024);
    EXPECT(rejects() == 0);
}

static _Atomic(void *) left_behind[4000];
static _Atomic unsigned left_count;

static void *leave_blocks(void *argument) {
    for (int i = 0; i < 20; i++) {
        unsigned at = atomic_fetch_add_explicit(&left_count, 1, memory_order_relaxed);
        void *block = malloc(10 + at * 13 % 9000);
        EXPECT(block != NULL);
        memset(block, 3, 10);
        atomic_store_explicit(&left_behind[at], block, memory_order_relaxed);
    }
    return argument;
}

static void dead_threads_blocks(void) {
    struct allocator_stats before, stats;
    test_table()->stats(&before);
    run_threads(200, leave_blocks);
    for (unsigned i = 0; i < 4000; i++) {
        char *block = atomic_load_explicit(&left_behind[i], memory_order_relaxed);
        EXPECT(block != NULL && block[9] == 3);
        free(block);
    }
    malloc_trim(0);
    test_table()->stats(&stats);
    EXPECT(stats.live_bytes < before.live_bytes + (1u << 20));
    EXPECT(rejects() == 0);
}

static void small_stack(void) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    EXPECT(pthread_attr_setstacksize(&attributes, 20480) == 0); // our static TLS lies on it, too
    for (int i = 0; i < 20; i++) {
        pthread_t thread;
        EXPECT(pthread_create(&thread, &attributes, use_heap_in_thread, NULL) == 0);
        EXPECT(pthread_join(thread, NULL) == 0);
    }
}

static void no_more_threads(void) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, (size_t)1 << 46); // more than the address space has left
    for (int i = 0; i < 300; i++) {
        pthread_t thread;
        EXPECT(pthread_create(&thread, &attributes, use_heap_in_thread, NULL) != 0);
        free(malloc(1000));
    }
    use_heap();
    run_threads(3, use_heap_in_thread);
}

// ---- processes ----------------------------------------------------------------------------------------------------

static _Atomic int is_over;

static void *churn(void *argument) {
    uint64_t random = (uint64_t)(uintptr_t)argument;
    void *own[50] = {0};
    while (!atomic_load_explicit(&is_over, memory_order_relaxed)) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        void **slot = &own[(random >> 33) % COUNT(own)];
        free(*slot);
        *slot = malloc((random >> 40) % (random >> 60 == 0 ? 500000 : 3000));
    }
    for (size_t i = 0; i < COUNT(own); i++)
        free(own[i]);
    return NULL;
}

static void expect_good_end(pid_t pid) {
    int status = 0;
    EXPECT(pid > 0 && waitpid(pid, &status, 0) == pid);
    EXPECT(status == 0);
}

static void under_churn(void (*function)(void), int times) {
    pthread_t threads[3];
    for (size_t i = 0; i < COUNT(threads); i++)
        EXPECT(pthread_create(&threads[i], NULL, churn, (void *)(uintptr_t)(i + 1)) == 0);
    for (int i = 0; i < times; i++)
        function();
    atomic_store_explicit(&is_over, 1, memory_order_relaxed);
    for (size_t i = 0; i < COUNT(threads); i++)
        pthread_join(threads[i], NULL);
}

static void fork_once(void) {
    pid_t pid = fork();
    if (pid == 0) {
        alarm(SECONDS / 2);
        use_heap();
        run_threads(1, use_heap_in_thread);
        _exit(0);
    }
    expect_good_end(pid);
}

// early.c's handlers, registered before ours in the usual order of constructors, allocate on both sides of the fork.
static void fork_handlers_allocate(void) {
    under_churn(fork_once, 15);
}

static void spawn_once(void) {
    char *const arguments[] = {(char *)(uintptr_t) "true", NULL};
    pid_t pid = 0;
    EXPECT(posix_spawnp(&pid, "true", NULL, NULL, arguments, environ) == 0);
    expect_good_end(pid);
    pid = vfork();
    if (pid == 0) {
        execvp("true", arguments);
        _exit(1);
    }
    expect_good_end(pid);
}

static void vfork_and_spawn(void) {
    under_churn(spawn_once, 15);
}

static void free_at_exit(void) {
    free(before_main);
    use_heap();
    if (rejects() != 0)
        _exit(1);
}

static void exit_handlers(void) {
    EXPECT(atexit(free_at_exit) == 0);
    fork_once();
    exit(0); // then early.c's destructor
}

static void open_and_close(void) {
    Dl_info info;
    EXPECT(dladdr((const void *)test_table(), &info) != 0);
    void *self = dlopen(info.dli_fname, RTLD_NOW);
    EXPECT(self != NULL);
    for (int i = 0; i < 20; i++) {
        void *library = dlopen("libm.so.6", RTLD_NOW);
        EXPECT(library != NULL && dlsym(library, "cos") != NULL);
        dlclose(library);
        dlopen("/no/such/library.so", RTLD_NOW); // its message is allocated
        EXPECT(dlerror() != NULL);
    }
    dlclose(self);
    dlclose(self); // once too often; the library stays
    use_heap();
    run_threads(3, use_heap_in_thread);
}

// deep_plugin and deep_caller lie beside the program, which has no RUNPATH to them.
static void beside_program(const char *name, char *path, size_t path_bytes) {
    ssize_t got = readlink("/proc/self/exe", path, path_bytes - 1);
    EXPECT(got > 0);
    path[got] = '\0';
    char *end = strrchr(path, '/') + 1;
    EXPECT(end + strlen(name) < path + path_bytes);
    strcpy(end, name);
}

static void *symbol_of(void *library, const char *name) {
    if (library == NULL)
        dprintf(STDERR_FILENO, "  %s\n", dlerror());
    EXPECT(library != NULL);
    void *symbol = dlsym(library, name);
    EXPECT(symbol != NULL);
    return symbol;
}

static void exchange_blocks(void *library) {
    void (*plugin_free)(void *);
    char *(*plugin_copy)(const char *);
    *(void **)(void *)&plugin_free = symbol_of(library, "plugin_free");
    *(void **)(void *)&plugin_copy = symbol_of(library, "plugin_copy");
    uint64_t before = rejects();
    for (size_t bytes = 1; bytes < 1000000; bytes += bytes + 1) {
        char *block = calloc(1, bytes + 1);
        memset(block, 'x', bytes);
        char *copy = plugin_copy(block);
        EXPECT(strcmp(copy, block) == 0);
        plugin_free(block);
        free(copy);
    }
    EXPECT(rejects() == before && dlclose(library) == 0);
}

static void deepbind(void) {
    char path[PATH_MAX];
    beside_program("libdeep_plugin.so", path, sizeof path);
    exchange_blocks(dlopen(path, RTLD_NOW | RTLD_DEEPBIND));
    exchange_blocks(dlmopen(LM_ID_BASE, path, RTLD_NOW | RTLD_DEEPBIND));
    exchange_blocks(dlopen(path, RTLD_NOW));
}

// The linker takes the RUNPATH and the namespace of whoever dlopen returns to.
static void dlopen_caller(void) {
    static const char name[] = "libdeep_plugin.so";
    char path[PATH_MAX];
    Lmid_t space = LM_ID_BASE;
    EXPECT(dlopen(name, RTLD_NOW) == NULL); // not to be found from here
    beside_program("libdeep_caller.so", path, sizeof path);
    void *caller = dlopen(path, RTLD_NOW);
    void *(*caller_dlopen)(const char *, int);
    void *(*caller_dlmopen)(long, const char *, int);
    *(void **)(void *)&caller_dlopen = symbol_of(caller, "caller_dlopen");
    *(void **)(void *)&caller_dlmopen = symbol_of(caller, "caller_dlmopen");
    exchange_blocks(caller_dlopen(name, RTLD_NOW));
    exchange_blocks(caller_dlopen(name, RTLD_NOW | RTLD_DEEPBIND));
    exchange_blocks(caller_dlmopen(LM_ID_BASE, name, RTLD_NOW | RTLD_DEEPBIND));
    beside_program(name, path, sizeof path);
    void *other = caller_dlmopen(LM_ID_NEWLM, path, RTLD_NOW | RTLD_DEEPBIND);
    symbol_of(other, "plugin_free");
    EXPECT(dlinfo(other, RTLD_DI_LMID, &space) == 0 && space != LM_ID_BASE);
}

// ---- limits -------------------------------------------------------------------------------------------------------

static void maps_run_out(void) {
    size_t most = 300000, count = 0;
    char *area = mmap(NULL, most * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    EXPECT(area != MAP_FAILED);
    while (count < most && mprotect(area + count * 4096, 4096, PROT_READ) == 0)
        count += 2; // every second page: no two mappings merge
    if (count >= most)
        _exit(SKIP_CODE); // this system has no such limit
    static void *blocks[3000];
    for (size_t i = 0; i < COUNT(blocks); i++) {
        errno = 0;
        blocks[i] = malloc(i % 100 == 0 ? 3000000 : 10 + i * 31 % 60000);
        EXPECT(blocks[i] != NULL || errno == ENOMEM);
    }
    for (size_t i = 0; i < COUNT(blocks); i++)
        free(blocks[i]);
    malloc_trim(0);
    munmap(area, most * 4096);
    use_heap();
}

static void locked_memory(void) {
    if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0)
        _exit(SKIP_CODE);
    // Pages cannot be dropped now, so zero is what must be written.
    for (int round = 0; round < 5; round++) {
        for (size_t bytes = 16; bytes < 8u << 20; bytes *= 2) {
            char *block = malloc(bytes);
            EXPECT(block != NULL);
            memset(block, 0x55, bytes);
            free(block);
            malloc_trim(0);
            block = calloc(1, bytes);
            for (size_t i = 0; i < bytes; i += 61)
                EXPECT(block != NULL && block[i] == 0);
            free(block);
        }
    }
}

static void little_address_space(void) {
    // Down to where not even the dynamic linker can start: a refusal, never a signal.
    for (rlim_t mib = 4; mib <= 96; mib += mib < 24 ? 1 : 8) {
        pid_t pid = fork();
        if (pid == 0) {
            struct rlimit limit = {mib << 20, mib << 20};
            int null = open("/dev/null", O_WRONLY);
            dup2(null, STDERR_FILENO);
            setrlimit(RLIMIT_AS, &limit);
            execl("/proc/self/exe", "situations", "--breathe", (char *)NULL);
            _exit(0); // not even exec
        }
        int status = 0;
        EXPECT(waitpid(pid, &status, 0) == pid);
        if (!WIFEXITED(status) || (mib >= 96 && WEXITSTATUS(status) != 0))
            dprintf(STDERR_FILENO, "  under %d MiB: status 0x%x\n", (int)mib, (unsigned)status);
        // The kernel kills a program whose segments do not fit; that is before any of its code.
        EXPECT(WIFEXITED(status) || (mib < 12 && WTERMSIG(status) == SIGKILL) ||
               (mib < 12 && WTERMSIG(status) == SIGSEGV));
        EXPECT(mib < 96 || WEXITSTATUS(status) == 0);
    }
}

static int breathe(void) {
    for (int i = 0; i < 2000; i++) {
        void *block = malloc((size_t)(i * 37 % 40000));
        if (block == NULL)
            return errno == ENOMEM ? 3 : 4;
        free(block);
    }
    return 0;
}

// ---- signals ------------------------------------------------------------------------------------------------------

static sigjmp_buf back;
static volatile sig_atomic_t handled;

static void handler_allocates(int number) {
    (void)number;
    use_heap();
    handled++;
}

static void handler_jumps(int number) {
    (void)number;
    free(malloc(500));
    siglongjmp(back, 1);
}

static void signal_on_small_stack(void) {
    static char small[16384];
    stack_t stack = {.ss_sp = small, .ss_size = sizeof small};
    struct sigaction action = {.sa_handler = handler_allocates, .sa_flags = SA_ONSTACK};
    EXPECT(sigaltstack(&stack, NULL) == 0 && sigaction(SIGUSR1, &action, NULL) == 0);
    for (int i = 0; i < 5; i++)
        EXPECT(raise(SIGUSR1) == 0);
    EXPECT(handled == 5);
}

static void signal_jumps_away(void) {
    struct sigaction action = {.sa_handler = handler_jumps};
    EXPECT(sigaction(SIGUSR1, &action, NULL) == 0);
    for (volatile int i = 0; i < 200; i++)
        if (sigsetjmp(back, 1) == 0)
            raise(SIGUSR1);
    use_heap();
}

// ---- pointers that are nobody's -----------------------------------------------------------------------------------

static void high_addresses(void) {
    static const uint64_t addresses[] = {0x10,
                                         0x7fffffffffe0,
                                         0x800000000000,
                                         0x00ff000000000010,
                                         0x0100000000000000,
                                         0x7fffffffffffffe0,
                                         0x8000000000000000,
                                         0xffff800000000000,
                                         0xffffffffffffffe0};
    uint64_t before = rejects();
    // hz3's table ends at 2^47, and what lies above ends the process in the look-up: its README says so.
    size_t count = strcmp(test_table()->name, "hz3") == 0 ? 2 : COUNT(addresses);
    for (size_t i = 0; i < count; i++) {
        free((void *)(uintptr_t)addresses[i]);
        EXPECT(malloc_usable_size((void *)(uintptr_t)addresses[i]) == 0);
        EXPECT(realloc((void *)(uintptr_t)addresses[i], 100) == NULL);
    }
    EXPECT(rejects() == before + 3 * count);
    use_heap();
}

static void foreign_blocks(void) {
    static char data[4096];
    void *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint64_t before = rejects();
    void *volatile pointers[] = {data, data + 64, pages, (char *)pages + 4096, (void *)(uintptr_t)&use_heap};
    for (size_t i = 0; i < COUNT(pointers); i++)
        free(pointers[i]);
    EXPECT(rejects() == before + COUNT(pointers));
    EXPECT(munmap(pages, 8192) == 0); // it was nobody's to unmap
    use_heap();
}

// ---- system calls and pages ---------------------------------------------------------------------------------------

#define ALLOW(name) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##name, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

static void sandbox(void) {
    struct sock_filter filter[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                                   ALLOW(mmap),
                                   ALLOW(munmap),
                                   ALLOW(mprotect),
                                   ALLOW(madvise),
                                   ALLOW(mremap),
                                   ALLOW(futex),
                                   ALLOW(exit_group),
                                   ALLOW(write),
                                   BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS)};
    struct sock_fprog program = {COUNT(filter), filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        _exit(SKIP_CODE);
    for (int i = 0; i < 20; i++)
        use_heap();
    malloc_trim(0);
    use_heap();
    _exit(0);
}

static void no_huge_pages(void) {
    static char line[512];
    use_heap();
    FILE *file = fopen("/proc/self/smaps", "r");
    EXPECT(file != NULL);
    while (fgets(line, sizeof line, file) != NULL)
        EXPECT(strncmp(line, "VmFlags:", 8) != 0 || strstr(line, " ht ") == NULL);
    fclose(file);
}

// ---- the table ----------------------------------------------------------------------------------------------------

static void key_never_created(void) {
    static pthread_key_t key; // 0, and nobody has created it
    EXPECT(pthread_setspecific(key, &key) != 0);
    EXPECT(pthread_key_create(&key, NULL) == 0 && key == 0);
}

static const struct test_case situations[] = {
    {"1 thread-local memory without calls into the linker", tls_is_static},
    {"2 destructors of 60 keys and thread_locals allocate", thread_exit_allocates},
    {"2 destructors that allocate in all four rounds", every_round_allocates},
    {"3 libraries come and go, ours stays", open_and_close},
    {"2 a key that was never created", key_never_created},
    {"4 fork handlers that allocate, in a threaded parent", fork_handlers_allocate},
    {"5 a block from before all constructors", early_block},
    {"5 settings from before all constructors", early_settings},
    {"12 calloc where pages are locked", locked_memory},
    {"14 no mappings left", maps_run_out},
    {"15 blocks of dead threads", dead_threads_blocks},
    {"17 high and impossible addresses", high_addresses},
    {"18 a handler that allocates, on a small stack", signal_on_small_stack},
    {"18 a handler that jumps away", signal_jumps_away},
    {"19 a sandbox of eight system calls", sandbox},
    {"20 foreign blocks are refused, not passed on", foreign_blocks},
    {"21 exit handlers and destructors free and allocate", exit_handlers},
    {"22 vfork and posix_spawn, in a threaded parent", vfork_and_spawn},
    {"23 threads with stacks of 20 KiB", small_stack},
    {"24 no huge pages", no_huge_pages},
    {"25 libraries opened with RTLD_DEEPBIND", deepbind},
    {"25 the RUNPATH of the library that calls dlopen", dlopen_caller},
    {"no more threads", no_more_threads},
    {"little address space", little_address_space},
};

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "--breathe") == 0)
        return breathe();
    if (argc == 2 && test_case_named(situations, COUNT(situations), argv[1], SECONDS))
        return 0;
    unsetenv("LD_LIBRARY_PATH"); // meson's, with which any of our libraries would be found by its bare name
    unsigned survived = 0, skipped = 0;
    for (size_t i = 0; i < COUNT(situations); i++) {
        int result = test_case_fresh(&situations[i]);
        survived += result == 0;
        skipped += result == SKIP_CODE;
        if (result != 0)
            printf("%s: %s\n", result == SKIP_CODE ? "skipped" : "BROKEN", situations[i].name);
    }
    printf("situations survived: %u of %zu, %u cannot be made here\n", survived, COUNT(situations), skipped);
    return survived + skipped != COUNT(situations) || argc != 1;
}
