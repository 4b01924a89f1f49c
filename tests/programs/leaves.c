/* A function that does not return, the last one of its module: the address that its last call would
 * return to is no longer its own, and that of no other function. */
#include <setjmp.h>
#include "say.h"
#include "witness.h"

void last_of_module(void (*leave)(void));

static jmp_buf out;

__attribute__((noinline)) static void leave(void)
{
    touch();
    longjmp(out, 1);
}

__attribute__((noinline)) static void enter(int depth)
{
    if (depth > 0)
        enter(depth - 1);
    else
        last_of_module(leave);
    touch(); /* not reached */
}

int main(void)
{
    int left = 0;
    witness_open();
    for (volatile int i = 0; i < 100; i++) {
        if (setjmp(out) == 0)
            enter(i % 20);
        left++;
        touch();
    }
    say("left=%d\n", left);
    return left != 100;
}
