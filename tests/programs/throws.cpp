// Exceptions thrown through many frames, with destructors that allocate on the way.
#include <stdexcept>
#include <string>
#include "say.h"
#include "witness.h"

#define NOINLINE __attribute__((noinline))

struct Touches {
    std::string text = std::string(40, 'x');
    NOINLINE ~Touches() { touch(); }
};

static NOINLINE void with_destructor(int depth);

static NOINLINE void plain(int depth)
{
    if (depth == 0)
        throw std::runtime_error(std::string(100, 'y'));
    if (depth % 3)
        plain(depth - 1);
    else
        with_destructor(depth - 1);
    touch();
}

static NOINLINE void with_destructor(int depth)
{
    Touches here;
    if (depth > 0)
        plain(depth - 1);
    else
        throw depth;
    touch();
}

static NOINLINE void rethrows(int depth)
{
    try {
        plain(depth);
    } catch (...) {
        touch();
        throw;
    }
}

int main()
{
    int caught = 0;
    witness_open();
    for (int i = 0; i < 150; i++) {
        try {
            rethrows(i % 60);
        } catch (const std::exception &error) {
            touch();
            caught++;
        } catch (int) {
            touch();
            caught++;
        }
        touch();
    }
    say("caught=%d\n", caught);
    return caught != 150;
}
