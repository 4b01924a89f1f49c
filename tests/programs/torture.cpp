// torture EVENTS PLUGIN_A PLUGIN_B [any-time]: everything at once that makes tracing hard, and an exact
// account of it.
//
// Every call of the allocator goes through one of the functions below, which count it; at the
// end each process prints its totals for each function, and the test compares them with the trace.
//
//  * workers swap blocks through a mailbox, so blocks are freed by other threads;
//  * short-lived threads leave blocks to a pthread key and to a thread_local's destructor;
//  * a sender hits the workers with signals whose handler allocates. malloc is not
//    async-signal-safe: a handler that finds its thread inside the allocator only takes a note,
//    and the wrapper does the work afterwards. With `any-time` (for an allocator that is
//    async-signal-safe, libsafe.c) handlers always allocate, also nested, at any instruction;
//  * the main thread forks while all that goes on; children allocate, free inherited blocks, and
//    then exec a chain of further programs (torture leaf N);
//  * a loader thread opens and closes two plugins in turn, which allocate.
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <new>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
#include "say.h"

namespace {

enum What { TAKE_BLOCK, TAKE_ZEROED, TAKE_ALIGNED, RESIZE_BLOCK, GIVE_BLOCK, TAKE_OBJECT, GIVE_OBJECT, PLUGIN_A_TAKE, PLUGIN_A_GIVE, PLUGIN_B_TAKE, PLUGIN_B_GIVE, WHATS };
const char *const caller_of[WHATS] = {"take_block", "take_zeroed", "take_aligned", "resize_block", "give_block", "take_object", "give_object", "plugin_a_take", "plugin_a_give", "plugin_b_take", "plugin_b_give"};
const char *const op_of[WHATS] = {"malloc", "calloc", "posix_memalign", "realloc", "free", "operator_new", "operator_delete", "malloc", "free", "malloc", "free"};

// One account a thread, so that counting costs no contention; static, so that it costs no malloc.
constexpr int ACCOUNTS = 16384;
struct Account {
    uint64_t calls[WHATS], bytes[WHATS];
};
Account accounts[ACCOUNTS];
std::atomic<int> accounts_used;
__thread Account *mine;

void count(What what, uint64_t bytes)
{
    if (!mine) {
        int number = accounts_used.fetch_add(1);
        if (number >= ACCOUNTS)
            _exit(98);
        mine = &accounts[number];
    }
    // Atomic, as a signal handler may count in between.
    __atomic_fetch_add(&mine->calls[what], 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&mine->bytes[what], bytes, __ATOMIC_RELAXED);
}

void print_totals()
{
    for (int what = 0; what < WHATS; what++) {
        uint64_t calls = 0, bytes = 0;
        for (const Account &account : accounts) {
            calls += account.calls[what];
            bytes += account.bytes[what];
        }
        if (calls)
            say("totals pid=%d caller=%s op=%s calls=%lu bytes=%lu\n", getpid(), caller_of[what], op_of[what], (unsigned long)calls, (unsigned long)bytes);
    }
}

// Whether this thread is inside the allocator, and whether a signal came meanwhile.
__thread volatile sig_atomic_t inside, pending;
bool any_time; // handlers need not wait

void work_of_handler();

struct Inside {
    Inside()
    {
        inside = inside + 1;
        std::atomic_signal_fence(std::memory_order_seq_cst);
    }
    ~Inside()
    {
        std::atomic_signal_fence(std::memory_order_seq_cst);
        inside = inside - 1;
        if (!inside && pending) {
            pending = 0;
            work_of_handler();
        }
    }
};

} // namespace

#define CALLER extern "C" __attribute__((noinline))

CALLER void *take_block(size_t size)
{
    Inside here;
    void *block = malloc(size);
    count(TAKE_BLOCK, size);
    return block;
}
CALLER void *take_zeroed(size_t number, size_t size)
{
    Inside here;
    void *block = calloc(number, size);
    count(TAKE_ZEROED, number * size);
    return block;
}
CALLER void *take_aligned(size_t alignment, size_t size)
{
    Inside here;
    void *block = nullptr;
    if (posix_memalign(&block, alignment, size))
        _exit(97);
    count(TAKE_ALIGNED, size);
    return block;
}
CALLER void *resize_block(void *block, size_t size)
{
    Inside here;
    block = realloc(block, size);
    count(RESIZE_BLOCK, size);
    return block;
}
CALLER void give_block(void *block)
{
    if (!block)
        return;
    Inside here;
    free(block);
    count(GIVE_BLOCK, 0);
}
CALLER void *take_object(size_t size)
{
    Inside here;
    void *block = operator new(size);
    count(TAKE_OBJECT, size);
    return block;
}
CALLER void give_object(void *block)
{
    Inside here;
    operator delete(block);
    count(GIVE_OBJECT, 0);
}

namespace {

struct Random {
    uint64_t state;
    uint64_t next()
    {
        state ^= state << 13;
        state ^= state >> 7;
        return state ^= state << 17;
    }
};

// A block in the mailbox carries in its lowest bit whether it is an object (from operator new).
constexpr int BOXES = 1000;
std::atomic<uintptr_t> mailbox[BOXES];

void give(uintptr_t tagged)
{
    if (tagged & 1)
        give_object(reinterpret_cast<void *>(tagged - 1));
    else
        give_block(reinterpret_cast<void *>(tagged));
}

uintptr_t take(uint64_t r)
{
    size_t size = 1 + (r >> 24) % 600;
    switch ((r >> 16) % 8) {
    case 0: return reinterpret_cast<uintptr_t>(take_zeroed(1 + r % 3, size));
    case 1: return reinterpret_cast<uintptr_t>(take_aligned(64, size));
    case 2:
    case 3: return reinterpret_cast<uintptr_t>(take_object(size)) | 1;
    default: return reinterpret_cast<uintptr_t>(take_block(size));
    }
}

// About two events: take (or resize) one block, give another.
void step(Random &random)
{
    uint64_t r = random.next();
    std::atomic<uintptr_t> &box = mailbox[(r >> 40) % BOXES];
    if (r % 8 == 0) {
        uintptr_t got = box.exchange(0);
        if (got && !(got & 1))
            got = reinterpret_cast<uintptr_t>(resize_block(reinterpret_cast<void *>(got), 1 + (r >> 20) % 1000));
        give(box.exchange(got));
    } else {
        give(box.exchange(take(r)));
    }
}

void work_of_handler()
{
    void *a = take_block(40), *b = take_zeroed(2, 30);
    give_block(a);
    a = resize_block(b, 500);
    give_block(a);
}

__thread volatile sig_atomic_t depth;
void handler(int)
{
    if (!any_time && inside) {
        pending = 1;
        return;
    }
    if (depth == 3) // a sender that is faster than the handlers must not use up the stack
        return;
    depth = depth + 1;
    work_of_handler();
    depth = depth - 1;
}

long worker_steps;
std::atomic<int> workers_busy;
std::atomic<bool> over;

void *worker(void *seed)
{
    Random random{reinterpret_cast<uintptr_t>(seed) * 0x9e3779b97f4a7c15u};
    for (long i = 0; i < worker_steps; i++)
        step(random);
    workers_busy--;
    while (!over) // stays a valid target for signals
        sched_yield();
    return nullptr;
}

constexpr int WORKERS = 4;
pthread_t workers[WORKERS];

void *sender(void *)
{
    Random random{4711};
    while (!over) {
        uint64_t r = random.next();
        pthread_kill(workers[(r >> 30) % WORKERS], r & 1024 ? SIGUSR1 : SIGUSR2);
        for (uint64_t pause = r % 5000; pause; pause--)
            std::atomic_signal_fence(std::memory_order_seq_cst);
        if (r % 3 == 0)
            sched_yield();
    }
    return nullptr;
}

pthread_key_t key;
struct GiveAtExit {
    void *block = nullptr;
    ~GiveAtExit() { give_block(block); }
};
thread_local GiveAtExit give_at_exit;

// Ends with two blocks that only destructors give back.
void *short_life(void *seed)
{
    Random random{reinterpret_cast<uintptr_t>(seed) * 0x9e3779b97f4a7c15u};
    give_at_exit.block = take_block(200);
    pthread_setspecific(key, take_block(300));
    for (int i = 0; i < 20; i++)
        step(random);
    return nullptr;
}

const char *plugin_path[2];
std::atomic<bool> stop_loading;
long loads;

void *loader(void *)
{
    for (; !stop_loading; loads++) {
        int which = loads % 2;
        void *library = dlopen(plugin_path[which], RTLD_NOW | RTLD_LOCAL);
        if (!library)
            _exit(96);
        auto work = reinterpret_cast<long (*)(long)>(dlsym(library, "plugin_work"));
        long bytes = work(20);
        for (int i = 0; i < 20; i++) {
            count(which ? PLUGIN_B_TAKE : PLUGIN_A_TAKE, i ? 0 : bytes);
            count(which ? PLUGIN_B_GIVE : PLUGIN_A_GIVE, 0);
        }
        dlclose(library);
    }
    return nullptr;
}

char *own_path;

// Never returns. No exit(): its handlers would wait for locks that other threads held at the fork.
void become_leaf(int generations)
{
    char number[16];
    snprintf(number, sizeof number, "%d", generations);
    char name[] = "torture-leaf", leaf[] = "leaf";
    char *arguments[] = {name, leaf, number, nullptr};
    execv(own_path, arguments);
    _exit(95);
}

void child(int number)
{
    memset(accounts, 0, sizeof accounts); // the parent's account is not ours
    Random random{number * 0x9e3779b97f4a7c15u + 1};
    for (int i = 0; i < 300; i++)
        step(random);
    for (int i = 0; i < 100; i++)
        give(mailbox[i].exchange(0));
    print_totals();
    if (number % 2)
        become_leaf(3);
    _exit(0);
}

int leaf(int generations)
{
    Random random{static_cast<uint64_t>(generations) + 99};
    for (int i = 0; i < 200; i++)
        step(random);
    print_totals();
    if (generations > 1)
        become_leaf(generations - 1);
    return 0;
}

} // namespace

int main(int argc, char **argv)
{
    own_path = realpath("/proc/self/exe", nullptr);
    if (argc == 3 && !strcmp(argv[1], "leaf"))
        return leaf(atoi(argv[2]));
    if (argc < 4)
        return 94;
    long events = atol(argv[1]);
    plugin_path[0] = argv[2];
    plugin_path[1] = argv[3];
    any_time = argc > 4 && !strcmp(argv[4], "any-time");
    worker_steps = events / 2 / WORKERS * 11 / 10; // some steps find an empty box: one event

    pthread_key_create(&key, give_block);
    struct sigaction action = {};
    action.sa_handler = handler;
    action.sa_flags = SA_RESTART | (any_time ? SA_NODEFER : 0);
    sigaction(SIGUSR1, &action, nullptr);
    sigaction(SIGUSR2, &action, nullptr);

    workers_busy = WORKERS;
    for (int i = 0; i < WORKERS; i++)
        if (pthread_create(&workers[i], nullptr, worker, reinterpret_cast<void *>(i + 1L)))
            return 93;
    pthread_t sending, loading;
    pthread_create(&sending, nullptr, sender, nullptr);
    pthread_create(&loading, nullptr, loader, nullptr);

    // At least a few rounds, also on a machine where the workers are done at once.
    for (long round = 0; round < 8 || (workers_busy && round < 500); round++) {
        pthread_t brief[4];
        for (int i = 0; i < 4; i++)
            if (pthread_create(&brief[i], nullptr, short_life, reinterpret_cast<void *>(round * 4 + i + 100)))
                return 92;
        pid_t pid = fork();
        if (pid == 0)
            child(static_cast<int>(round));
        for (pthread_t thread : brief)
            pthread_join(thread, nullptr);
        int status;
        if (waitpid(pid, &status, 0) != pid || status)
            return 91;
    }
    while (workers_busy)
        sched_yield();
    over = true;
    pthread_join(sending, nullptr);
    for (pthread_t thread : workers)
        pthread_join(thread, nullptr);
    stop_loading = true;
    pthread_join(loading, nullptr);
    print_totals();
    say("loads=%ld done\n", loads);
    return 0;
}
