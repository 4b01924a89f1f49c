/* Assembly without unwind information between functions that have some: with a frame pointer, by
 * which it can be passed, without one, and with a register in its place. The caller changes between two
 * events while everything further in stays where it is. */
#include "say.h"
#include "witness.h"

#ifdef __x86_64__
__asm__(".text\n"
        "with_frame_pointer:\n"
        "    push %rbp\n"
        "    mov %rsp, %rbp\n"
        "    call *%rdi\n"
        "    pop %rbp\n"
        "    ret\n"
        "without_frame_pointer:\n"
        "    sub $8, %rsp\n"
        "    call *%rdi\n"
        "    add $8, %rsp\n"
        "    ret\n"
        "with_another_use:\n"
        "    push %rbp\n"
        "    mov $12345, %rbp\n"
        "    call *%rdi\n"
        "    pop %rbp\n"
        "    ret\n");
void with_frame_pointer(void (*function)(void));
void without_frame_pointer(void (*function)(void));
void with_another_use(void (*function)(void));
#else
static void with_frame_pointer(void (*function)(void)) { function(); }
#define without_frame_pointer with_frame_pointer
#define with_another_use with_frame_pointer
#endif

static void (*passes)(void (*)(void));

__attribute__((noinline)) static void leaf(void)
{
    touch();
}

static void further(void)
{
    touch();
    with_frame_pointer(leaf);
}

__attribute__((noinline)) static void one(int depth)
{
    volatile char room[40];
    room[0] = (char)depth;
    if (depth > 0)
        one(depth - 1);
    else
        passes(further);
    room[1] = room[0];
}

__attribute__((noinline)) static void other(int depth)
{
    volatile char room[40];
    room[0] = (char)depth;
    if (depth > 0)
        other(depth - 1);
    else
        passes(further);
    room[1] = room[0];
}

int main(void)
{
    void (*const ways[])(void (*)(void)) = {with_frame_pointer, without_frame_pointer, with_another_use};
    for (int i = 0; i < 300; i++) {
        passes = ways[i / 20 % 3];
        if (i % 2)
            one(i / 2 % 5);
        else
            other(i / 2 % 5);
        if (i % 7 == 0)
            touch();
    }
    say("blocks=%u\n", witness_blocks);
    return 0;
}
