// Stacks that change in every way that a last stack could be mistaken for the next one: exceptions,
// coroutines with and without a stack, signal handlers on another stack and on the same one, at
// chosen and at any moments, jumps out of functions and out of handlers, frames that realign the
// stack, recursion deeper than what is kept, threads on the memory of those before them.
// The first argument says what to do; without one, everything. Built with WITNESS, the stack of
// every block of `touch` is taken by libunwind too, and written to the file that the second argument
// names: how many return addresses, then those, innermost first, each 64 bits.
#include <alloca.h>
#include <coroutine>
#include <csetjmp>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <pthread.h>
#include <stdexcept>
#include <string>
#include <sys/time.h>
#include <ucontext.h>
#include <vector>

#define NOINLINE __attribute__((noinline))

static volatile unsigned long sink;
static thread_local unsigned long seed = 88172645463325252UL;

static unsigned long next_number()
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

// Two calls that leave the same frame with another return address: what stands further in looks the
// same on both ways.
#define EITHER(call)            \
    do {                        \
        if (next_number() & 1)  \
            call;               \
        else {                  \
            call;               \
            sink = sink + 1;    \
        }                       \
    } while (0)

#ifdef WITNESS
#define UNW_LOCAL_ONLY
#include <fcntl.h>
#include <libunwind.h>
#include <unistd.h>

static int witness = -1;

// Blocks of so many elements are those of `touch`.
#define ALLOCATE(size) calloc(77, size)
#define TESTIFY()                                                  \
    do {                                                           \
        void *stack[600];                                          \
        unsigned long count = (unsigned long)unw_backtrace(stack, 600); \
        if (write(witness, &count, sizeof count) < 0 || write(witness, stack, count * sizeof *stack) < 0) \
            abort();                                               \
    } while (0)
#else
#define ALLOCATE(size) malloc(size)
#define TESTIFY() (void)0
#endif

static NOINLINE void touch(size_t size)
{
    TESTIFY();
    void *block = ALLOCATE(size);
    sink = sink + (unsigned long)block;
    free(block);
}

// Where the frames in between should change unseen.
static NOINLINE void sometimes(size_t size)
{
    if (next_number() % 16 == 0)
        touch(size);
}

// Recursion whose frames differ in size and in how they are addressed.
static NOINLINE void realigned(int depth);
static NOINLINE void variable(int depth);

static NOINLINE void fixed(int depth)
{
    volatile char room[24];
    room[0] = (char)depth;
    sometimes(16);
    if (depth <= 0)
        touch(16);
    if (depth > 0) {
        if (next_number() & 1)
            realigned(depth - 1);
        else
            variable(depth - 1);
    }
    sometimes(24 + room[0] % 2);
}

static NOINLINE void realigned(int depth)
{
    alignas(64) volatile char room[128];
    room[0] = (char)depth;
    sink = sink + (unsigned long)&room[0];
    sometimes(32);
    if (depth > 0)
        EITHER(fixed(depth - 1));
    else
        touch(40);
    sometimes(48 + room[0] % 2);
}

static NOINLINE void variable(int depth)
{
    volatile char *room = (volatile char *)alloca(16 + next_number() % 200);
    room[0] = (char)depth;
    sometimes(64);
    if (depth > 0)
        fixed(depth - 1);
    else
        touch(72);
    sometimes(80 + room[0] % 2);
}

static void frames()
{
    for (int i = 0; i < 300; i++)
        fixed((int)(next_number() % 30));
}

// Exceptions.
static NOINLINE int throwing(int depth)
{
    if (depth == 0)
        throw std::runtime_error(std::string(40, 'x'));
    int result = 1;
    EITHER(result += throwing(depth - 1));
    sometimes(56);
    return result;
}

static NOINLINE void catching(int depth)
{
    try {
        throwing(depth);
    } catch (const std::exception &error) {
        touch(strlen(error.what()));
    }
    touch(8);
}

static void exceptions()
{
    for (int i = 0; i < 200; i++)
        catching((int)(next_number() % 40));
}

// Coroutines of the language: frames on the heap, bodies on the stack of whoever resumes them.
struct Task {
    struct promise_type {
        Task get_return_object() { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
        std::suspend_always initial_suspend() { return {}; }
        std::suspend_always final_suspend() noexcept { return {}; }
        void return_void() {}
        void unhandled_exception() { std::abort(); }
    };
    std::coroutine_handle<promise_type> handle;
};

static Task steps(int count)
{
    for (int i = 0; i < count; i++) {
        std::vector<int> numbers(i + 1);
        touch(numbers.size());
        co_await std::suspend_always{};
    }
}

static NOINLINE void resume_from(int depth, std::coroutine_handle<> handle)
{
    if (depth > 0)
        EITHER(resume_from(depth - 1, handle));
    else
        handle.resume();
    sometimes(8);
}

static void coroutines()
{
    std::vector<Task> tasks;
    for (int i = 0; i < 20; i++)
        tasks.push_back(steps(20));
    for (int round = 0; round < 20; round++)
        for (auto &task : tasks)
            resume_from((int)(next_number() % 10), task.handle);
    for (auto &task : tasks)
        task.handle.destroy();
}

// Coroutines with stacks of their own, some of which are freed and obtained again.
static ucontext_t main_context, contexts[8];
static int running;

static NOINLINE void yield_at(int depth)
{
    sometimes(100);
    if (depth > 0)
        EITHER(yield_at(depth - 1));
    else {
        touch(108);
        swapcontext(&contexts[running], &main_context);
        touch(112);
    }
    sometimes(120);
}

static void body()
{
    for (;;)
        yield_at((int)(next_number() % 12));
}

static void switches()
{
    for (int life = 0; life < 10; life++) {
        void *stacks[8];
        for (int i = 0; i < 8; i++) {
            size_t size = 64 << 10;
            getcontext(&contexts[i]);
            stacks[i] = malloc(size);
            contexts[i].uc_stack.ss_sp = stacks[i];
            contexts[i].uc_stack.ss_size = size;
            contexts[i].uc_link = &main_context;
            makecontext(&contexts[i], body, 0);
        }
        for (int i = 0; i < 200; i++) {
            running = (int)(next_number() % 8);
            swapcontext(&main_context, &contexts[running]);
        }
        for (void *stack : stacks)
            free(stack);
    }
}

// Signals.
static sigjmp_buf back;
static volatile sig_atomic_t jumps;

static NOINLINE void handler_frames(int depth)
{
    sometimes(200);
    if (depth > 0)
        EITHER(handler_frames(depth - 1));
    else
        touch(204);
    sometimes(208);
}

static void on_signal(int signal)
{
    handler_frames((int)(next_number() % 6));
    if (signal == SIGUSR2 && jumps)
        siglongjmp(back, 1);
}

static NOINLINE void raise_at(int depth, int signal)
{
    sometimes(16);
    if (depth > 0)
        EITHER(raise_at(depth - 1, signal));
    else {
        touch(20);
        raise(signal);
        touch(20);
    }
    sometimes(24);
}

static void handle(int signal, int flags)
{
    struct sigaction action = {};
    action.sa_handler = on_signal;
    action.sa_flags = flags | SA_RESTART;
    sigaction(signal, &action, nullptr);
}

static void signals()
{
    size_t size = 64 << 10;
    stack_t alternate = {};
    alternate.ss_sp = malloc(size);
    alternate.ss_size = size;
    sigaltstack(&alternate, nullptr);
    handle(SIGUSR1, SA_ONSTACK);
    handle(SIGUSR2, 0);
    for (int i = 0; i < 500; i++)
        raise_at((int)(next_number() % 20), next_number() & 1 ? SIGUSR1 : SIGUSR2);
    // Out of the handler, over all frames in between.
    for (int i = 0; i < 200; i++) {
        jumps = 1;
        if (!sigsetjmp(back, 1))
            raise_at((int)(next_number() % 20), SIGUSR2);
        jumps = 0;
        touch(40);
    }
    stack_t none = {};
    none.ss_flags = SS_DISABLE;
    sigaltstack(&none, nullptr);
    free(alternate.ss_sp);
}

// A handler that comes at any moment, but allocates only where the heap is not in use.
static volatile int in_heap;

static void on_timer(int)
{
    if (!in_heap)
        handler_frames(3);
}

static NOINLINE void without_heap(int depth)
{
    volatile char room[40];
    room[0] = 1;
    for (int i = 0; i < 200; i++)
        sink = sink + room[i % 1] + next_number() % 3;
    if (depth > 0)
        EITHER(without_heap(depth - 1));
    else {
        in_heap = 1;
        touch(30 + room[0]);
        in_heap = 0;
    }
}

static void timers()
{
    size_t size = 64 << 10;
    stack_t alternate = {};
    alternate.ss_sp = malloc(size);
    alternate.ss_size = size;
    sigaltstack(&alternate, nullptr);
    struct sigaction action = {};
    action.sa_handler = on_timer;
    action.sa_flags = SA_ONSTACK | SA_RESTART;
    sigaction(SIGPROF, &action, nullptr);
    itimerval often = {{0, 1000}, {0, 1000}}, never = {};
    setitimer(ITIMER_PROF, &often, nullptr);
    for (int i = 0; i < 2000; i++)
        without_heap((int)(next_number() % 30));
    setitimer(ITIMER_PROF, &never, nullptr);
    stack_t none = {};
    none.ss_flags = SS_DISABLE;
    sigaltstack(&none, nullptr);
    free(alternate.ss_sp);
}

// Jumps.
static jmp_buf far_away;
static volatile int never;

static NOINLINE void jump_at(int depth)
{
    sometimes(16);
    // Or the compiler would see that nobody returns, and make it a loop.
    if (never)
        return;
    if (depth == 0) {
        touch(20);
        longjmp(far_away, 1);
    }
    EITHER(jump_at(depth - 1));
    sometimes(24);
}

static void long_jumps()
{
    for (int i = 0; i < 500; i++) {
        if (!setjmp(far_away))
            jump_at((int)(next_number() % 30));
        touch(8);
    }
}

// Recursion deeper than what is kept of a stack.
static NOINLINE int descend(int depth)
{
    if (depth % 1000 == 0)
        touch(16);
    int result = 1;
    if (depth > 0)
        EITHER(result += descend(depth - 1));
    if (depth % 1000 == 0)
        touch(24);
    return result;
}

static NOINLINE int swing(int depth)
{
    sometimes(16);
    int result = 1;
    if (depth > 0)
        EITHER(result += swing(depth - 1));
    if (depth % 100 == 0)
        result += descend(3000);
    return result;
}

static void depths()
{
    sink = sink + descend(30000);
    sink = sink + swing(500);
    for (int i = 0; i < 5; i++)
        sink = sink + descend(7000);
    sink = sink + swing(20);
}

// Threads, each on the stack of one that has ended.
static void *thread_body(void *argument)
{
    seed += (unsigned long)argument;
    for (int i = 0; i < 50; i++)
        catching((int)(next_number() % 13));
    std::vector<std::unique_ptr<int>> numbers;
    for (int i = 0; i < 50; i++)
        numbers.push_back(std::make_unique<int>(i));
    return nullptr;
}

static void threads()
{
    for (int i = 0; i < 20; i++) {
        pthread_t several[4];
        for (auto &one : several)
            pthread_create(&one, nullptr, thread_body, (void *)(long)(i * 4 + (&one - several)));
        for (auto &one : several)
            pthread_join(one, nullptr);
    }
}

int main(int count, char **arguments)
{
    const struct {
        const char *name;
        void (*run)();
    } parts[] = {
        {"frames", frames},     {"exceptions", exceptions}, {"coroutines", coroutines},
        {"switches", switches}, {"signals", signals},       {"timers", timers},
        {"jumps", long_jumps},  {"depths", depths},         {"threads", threads},
    };
#ifdef WITNESS
    if (count > 2)
        witness = open(arguments[2], O_WRONLY | O_CREAT | O_TRUNC, 0600);
#endif
    int ran = 0;
    for (auto &part : parts)
        if (count < 2 || !strcmp(arguments[1], part.name)) {
            part.run();
            ran++;
        }
    printf("ran=%d\n", ran);
    return ran == 0;
}
