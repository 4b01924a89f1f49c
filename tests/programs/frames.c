/* Frames that compilers lay out in every way: realigned for vectors, of variable size, large, with and
 * without a frame pointer, left by a tail call. */
#include <alloca.h>
#include <string.h>
#include "say.h"
#include "witness.h"

#define NOINLINE __attribute__((noinline))

static volatile int zero;
static void descend(int depth);

static NOINLINE void aligned(int depth)
{
    _Alignas(64) volatile char room[64];
    room[depth % 64] = (char)depth;
    descend(depth);
    room[0] = room[1];
}

#ifdef __x86_64__
typedef double Vector __attribute__((vector_size(32)));

__attribute__((noinline, target("avx"))) static void vectors(int depth)
{
    volatile Vector values[4];
    for (int i = 0; i < 4; i++)
        values[i] = (Vector){depth, i, 1, 2};
    descend(depth);
    values[0] = values[1] + values[2];
}
static int has_vectors(void)
{
    return __builtin_cpu_supports("avx") != 0;
}
#else
#define vectors aligned
#define has_vectors() 0
#endif

static NOINLINE void aligned_of_variable_size(int depth)
{
    _Alignas(128) volatile char room[128];
    volatile char *more = alloca((size_t)(100 + depth * 16));
    room[1] = more[0] = (char)depth;
    descend(depth);
    zero = room[1] * 0;
}

static NOINLINE void variable_array(int depth)
{
    int length = 10 + depth % 13;
    volatile long numbers[length];
    for (int i = 0; i < length; i++)
        numbers[i] = i;
    touch();
    descend(depth);
    numbers[0] = numbers[length - 1];
}

static NOINLINE void large(int depth)
{
    volatile char room[70000];
    memset((char *)room, depth, sizeof room);
    descend(depth);
    room[0] = room[1];
}

static NOINLINE void in_a_loop(int depth)
{
    /* One frame whose memory moves between two events. */
    for (int i = 0; i < 3; i++) {
        volatile char *more = alloca(64);
        more[0] = (char)i;
        touch();
    }
    descend(depth);
}

static NOINLINE void many_arguments(int depth, long b, long c, long d, long e, long f, long g, long h, long i)
{
    touch();
    descend(depth);
    zero = (int)(b + c + d + e + f + g + h + i) * 0;
}

__attribute__((noinline, optimize("O2", "omit-frame-pointer"))) static void tail_called(int depth)
{
    descend(depth);
}

__attribute__((noinline, optimize("O2", "omit-frame-pointer"))) static void without_frame_pointer(int depth)
{
    volatile long kept = depth;
    descend(depth);
    kept = kept + 1;
}

static NOINLINE void descend(int depth)
{
    if (depth-- <= 0) {
        touch();
        return;
    }
    switch ((depth * 7 + depth / 9) % 9) {
    case 0: aligned(depth); break;
    case 1: (has_vectors() ? vectors : aligned)(depth); break;
    case 2: aligned_of_variable_size(depth); break;
    case 3: variable_array(depth); break;
    case 4: large(depth); break;
    case 5: in_a_loop(depth); break;
    case 6: many_arguments(depth, 1, 2, 3, 4, 5, 6, 7, 8); break;
    case 7: tail_called(depth); break;
    default: without_frame_pointer(depth);
    }
    if (depth % 4 == 0)
        touch();
}

int main(void)
{
    witness_open();
    for (int i = 0; i < 200; i++)
        descend(i % 45 + zero);
    say("done=1\n");
    return 0;
}
