/* reframed A B: libraries of the same code with frames of other sizes lie at the same address, one
 * after the other. */
#define WITNESS_STEPS
#include <dlfcn.h>
#include <stdint.h>
#include "say.h"
#include "witness.h"

static void (*call)(int, void (*)(void), void (*)(int));

static void again(int depth)
{
    call(depth, touch, again);
}

int main(int argc, char **argv)
{
    uintptr_t before = 0;
    int same = 0;
    if (argc != 3)
        return 1;
    witness_open();
    for (int round = 0; round < 100; round++) {
        void *library = dlopen(argv[1 + round % 2], RTLD_NOW);
        if (!library)
            return 2;
        call = (void (*)(int, void (*)(void), void (*)(int)))dlsym(library, "framed_call");
        same += (uintptr_t)call == before;
        before = (uintptr_t)call;
        call(round / 2 % 10, touch, again);
        dlclose(library);
    }
    say("same=%d\n", same);
    return 0;
}
