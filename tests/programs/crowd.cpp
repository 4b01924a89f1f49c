// Threads that allocate at changing depths, from ordinary C++: virtual functions, templates of the
// library that call back, function objects, exceptions.
#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>
#include "say.h"
#include "witness.h"

#define NOINLINE __attribute__((noinline))

struct Shape {
    virtual ~Shape() = default;
    virtual NOINLINE int visit(int depth, unsigned number) = 0;
};

static int step(int depth, unsigned number);

struct Circle : Shape {
    NOINLINE int visit(int depth, unsigned number) override { return 1 + step(depth - 1, number * 5 + 1); }
};

struct Square : Shape {
    NOINLINE int visit(int depth, unsigned number) override
    {
        std::vector<std::string> names(3, std::string(30, 'n'));
        return (int)names.size() + step(depth - 1, number * 7 + 3);
    }
};

static NOINLINE int by_sorting(int depth, unsigned number)
{
    int result = 0;
    int values[] = {3, 1, 2};
    std::sort(std::begin(values), std::end(values), [&](int a, int b) {
        if (result == 0)
            result = 1 + step(depth - 1, number * 11 + 5);
        return a < b;
    });
    return result;
}

static NOINLINE int by_function(int depth, unsigned number)
{
    std::function<int()> call = [=, text = std::string(50, 'f')] { return (int)text.size() + step(depth - 1, number * 13 + 7); };
    return call();
}

static NOINLINE int by_throwing(int depth, unsigned number)
{
    try {
        throw std::out_of_range("expected");
    } catch (const std::exception &) {
        return step(depth - 1, number * 17 + 9);
    }
}

static NOINLINE int step(int depth, unsigned number)
{
    if (depth <= 0 || number % 8 == 0)
        touch();
    if (depth <= 0)
        return 0;
    switch (number / 3 % 5) {
    case 0: return std::make_unique<Circle>()->visit(depth, number);
    case 1: return std::make_unique<Square>()->visit(depth, number);
    case 2: return by_sorting(depth, number);
    case 3: return by_function(depth, number);
    default: return by_throwing(depth, number);
    }
}

int main()
{
    witness_open();
    std::vector<std::thread> threads;
    for (unsigned thread = 0; thread < 4; thread++)
        threads.emplace_back([thread] {
            for (unsigned i = 0; i < 500; i++)
                step((int)(i % 30), i * 2654435761u + thread);
        });
    for (auto &thread : threads)
        thread.join();
    say("blocks=%u\n", witness_blocks);
}
