/* Several stacks that are switched between; some are unmapped, and smaller ones mapped in their place,
 * whose upper part is a gap then. In there, a function without unwind information and with a frame
 * pointer that points into the gap. */
#define _GNU_SOURCE
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include "say.h"
#include "witness.h"

enum { STACKS = 6, LARGE = 256 << 10, SMALL = 64 << 10, GUARD = 64 << 10 };

static ucontext_t main_context, contexts[STACKS];
static int running;

#ifdef __x86_64__
/* void call_blindly(void *frame_pointer, void (*function)(void)), of which nothing is known. */
__asm__(".text\n"
        "call_blindly:\n"
        "    push %rbp\n"
        "    mov %rdi, %rbp\n"
        "    call *%rsi\n"
        "    pop %rbp\n"
        "    ret\n");
void call_blindly(void *frame_pointer, void (*function)(void));
#else
static void call_blindly(void *frame_pointer, void (*function)(void))
{
    (void)frame_pointer;
    function();
}
#endif

__attribute__((noinline)) static void descend(int depth)
{
    volatile char room[200];
    room[0] = (char)depth;
    if (depth > 0)
        descend(depth - 1);
    else {
        touch();
        swapcontext(&contexts[running], &main_context);
    }
    touch();
    room[1] = room[0];
}

static void work(void)
{
    for (int depth = 0;; depth = (depth + 7) % 40)
        descend(depth);
}

__attribute__((noinline)) static void allocate(void)
{
    free(malloc(100));
}

static char *area, *gap;

/* Allocates near the same place of a large stack and of a small one. */
__attribute__((noinline)) static void allocate_at(char *place)
{
    char room[512];
    room[0] = 0;
    if (room > place)
        allocate_at(place);
    else {
        allocate();
        call_blindly(gap, allocate);
        allocate();
    }
    __asm__ volatile("" : : "r"(room) : "memory");
}

static void work_blindly(void)
{
    allocate();
    allocate_at(area + SMALL - 8192);
    swapcontext(&contexts[running], &main_context);
}

static void make(int number, char *stack, size_t size, void (*body)(void))
{
    if (mmap(stack, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != stack)
        _exit(2);
    getcontext(&contexts[number]);
    contexts[number].uc_stack.ss_sp = stack;
    contexts[number].uc_stack.ss_size = size;
    contexts[number].uc_link = &main_context;
    makecontext(&contexts[number], body, 0);
}

static void go(int number)
{
    running = number;
    swapcontext(&main_context, &contexts[number]);
}

int main(void)
{
    area = mmap(NULL, STACKS * (LARGE + GUARD), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (area == MAP_FAILED)
        return 1;
    witness_open();
    for (int round = 0; round < 12; round++) {
        for (int i = 0; i < STACKS; i++)
            make(i, area + i * (LARGE + GUARD), round % 2 ? SMALL : LARGE, work);
        for (int i = 0; i < 10 * STACKS; i++) {
            go((i * 5 + round) % STACKS);
            if (i % 3 == 0)
                touch();
        }
        for (int i = 0; i < STACKS; i++)
            munmap(area + i * (LARGE + GUARD), LARGE);
        /* A large one and then, with nothing in between, a small one; the same in both is what a
         * frame pointer would be, and only in the large one it points to memory. */
        gap = area + SMALL + 4096;
        make(0, area, LARGE, work_blindly);
        go(0);
        munmap(area, LARGE);
        make(0, area, SMALL, work_blindly);
        go(0);
        munmap(area, LARGE);
    }
    say("switched=1\n");
    return 0;
}
