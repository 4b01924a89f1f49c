// Uses every form of C++'s operator new and delete and prints each call as the contract spells it.
// The operators are called by name, so that each form is certain to be the one that is used.
#include <cstddef>
#include <cstdlib>
#include <new>
#include "say.h"

#define CALLER __attribute__((noinline)) static
#define P(block) pointer_text(block, text)

using Size = std::size_t;

CALLER void *new_plain(Size n) { char text[32]; void *b = operator new(n); say("operator new(%zu) = %s  [new_plain]\n", n, P(b)); return b; }
CALLER void *new_nothrow(Size n) { char text[32]; void *b = operator new(n, std::nothrow); say("operator new(%zu) = %s  [new_nothrow]\n", n, P(b)); return b; }
CALLER void *new_array(Size n) { char text[32]; void *b = operator new[](n); say("operator new[](%zu) = %s  [new_array]\n", n, P(b)); return b; }
CALLER void *new_array_nothrow(Size n) { char text[32]; void *b = operator new[](n, std::nothrow); say("operator new[](%zu) = %s  [new_array_nothrow]\n", n, P(b)); return b; }

CALLER void delete_plain(void *b) { char text[32]; say("operator delete(%s)  [delete_plain]\n", P(b)); operator delete(b); }
CALLER void delete_sized(void *b, Size n) { char text[32]; say("operator delete(%s)  [delete_sized]\n", P(b)); operator delete(b, n); }
CALLER void delete_nothrow(void *b) { char text[32]; say("operator delete(%s)  [delete_nothrow]\n", P(b)); operator delete(b, std::nothrow); }
CALLER void delete_array(void *b) { char text[32]; say("operator delete[](%s)  [delete_array]\n", P(b)); operator delete[](b); }
CALLER void delete_array_sized(void *b, Size n) { char text[32]; say("operator delete[](%s)  [delete_array_sized]\n", P(b)); operator delete[](b, n); }
CALLER void delete_array_nothrow(void *b) { char text[32]; say("operator delete[](%s)  [delete_array_nothrow]\n", P(b)); operator delete[](b, std::nothrow); }

#ifdef __cpp_aligned_new
using Align = std::align_val_t;
CALLER void *new_aligned(Size n, Size a) { char text[32]; void *b = operator new(n, Align(a)); say("operator new aligned %zu %zu %s  [new_aligned]\n", n, a, P(b)); return b; }
CALLER void *new_aligned_nothrow(Size n, Size a) { char text[32]; void *b = operator new(n, Align(a), std::nothrow); say("operator new aligned %zu %zu %s  [new_aligned_nothrow]\n", n, a, P(b)); return b; }
CALLER void *new_array_aligned(Size n, Size a) { char text[32]; void *b = operator new[](n, Align(a)); say("operator new[] aligned %zu %zu %s  [new_array_aligned]\n", n, a, P(b)); return b; }
CALLER void *new_array_aligned_nothrow(Size n, Size a) { char text[32]; void *b = operator new[](n, Align(a), std::nothrow); say("operator new[] aligned %zu %zu %s  [new_array_aligned_nothrow]\n", n, a, P(b)); return b; }
CALLER void delete_aligned(void *b, Size a) { char text[32]; say("operator delete(%s)  [delete_aligned]\n", P(b)); operator delete(b, Align(a)); }
CALLER void delete_sized_aligned(void *b, Size n, Size a) { char text[32]; say("operator delete(%s)  [delete_sized_aligned]\n", P(b)); operator delete(b, n, Align(a)); }
CALLER void delete_array_aligned(void *b, Size a) { char text[32]; say("operator delete[](%s)  [delete_array_aligned]\n", P(b)); operator delete[](b, Align(a)); }
CALLER void delete_array_sized_aligned(void *b, Size n, Size a) { char text[32]; say("operator delete[](%s)  [delete_array_sized_aligned]\n", P(b)); operator delete[](b, n, Align(a)); }
#endif

// More than any address space; volatile, so that the compiler cannot complain.
static volatile Size too_much = Size(1) << 62;

// operator new throws through the hook's frames: the exception must arrive.
CALLER void new_that_throws()
{
    try {
        void *b = operator new(too_much);
        operator delete(b);
        say("not thrown\n");
    } catch (const std::bad_alloc &) {
        say("thrown\n");
    }
}

// A new handler runs inside operator new and makes it try again.
static int handled;
static void handler()
{
    if (++handled == 2)
        std::set_new_handler(nullptr);
}
CALLER void new_with_handler()
{
    std::set_new_handler(handler);
    void *b = operator new(too_much, std::nothrow);
    say("handler ran %d times, %s\n", handled, b ? "a block" : "null");
}

// Any argument: no call that fails (mimalloc's C build aborts where it cannot throw).
int main(int argc, char **)
{
    delete_plain(new_plain(72));
    delete_sized(new_plain(33), 33);
    delete_nothrow(new_nothrow(40));
    delete_array(new_array(100));
    delete_array_sized(new_array(1000), 1000);
    delete_array_nothrow(new_array_nothrow(5000));
#ifdef __cpp_aligned_new
    delete_aligned(new_aligned(128, 64), 64);
    delete_sized_aligned(new_aligned(256, 128), 256, 128);
    delete_aligned(new_aligned_nothrow(64, 32), 32);
    delete_array_aligned(new_array_aligned(512, 256), 256);
    delete_array_sized_aligned(new_array_aligned_nothrow(1024, 64), 1024, 64);
#endif
    if (argc == 1) {
        new_that_throws();
        new_with_handler();
    }
    say("done\n");
}
