// A plugin in C++: takes an array, and throws through its own frames.
#include <stdexcept>

static char *block;

extern "C" __attribute__((noinline)) void plugin_takes()
{
    block = new char[6543];
}

extern "C" __attribute__((noinline)) void plugin_gives()
{
    delete[] block;
}

extern "C" int plugin_throws()
{
    try {
        throw std::runtime_error("an exception allocates, too");
    } catch (const std::exception &) {
        return 1;
    }
    return 0;
}
