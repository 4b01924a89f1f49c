/* Allocates before main: in .preinit_array, which runs before every constructor, and in a
 * constructor of its own. */
#include <stdlib.h>
#include "say.h"

extern int ran_in_library;
static int ran_in_preinit, ran_in_program;
static void *volatile block;

static void early_in_preinit(void)
{
    block = malloc(602);
    free(block);
    ran_in_preinit = 1;
}

__attribute__((section(".preinit_array"), used)) static void (*const preinit)(void) = early_in_preinit;

__attribute__((constructor)) static void early_in_program(void)
{
    block = malloc(603);
    free(block);
    ran_in_program = 1;
}

int main(void)
{
    say("ran=%d%d%d1\n", ran_in_preinit, ran_in_library, ran_in_program);
    return 0;
}
