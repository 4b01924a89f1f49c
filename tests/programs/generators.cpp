// Coroutines of C++20: their frames are on the heap, their bodies on the stack of whoever resumes them,
// and one may be left for another without a return.
#include <coroutine>
#include <exception>
#include <utility>
#include "say.h"
#include "witness.h"

struct Walk {
    struct promise_type {
        std::coroutine_handle<> outer = std::noop_coroutine();
        int value = 0;
        Walk get_return_object() { return Walk{std::coroutine_handle<promise_type>::from_promise(*this)}; }
        std::suspend_always initial_suspend() { return {}; }
        struct Back {
            bool await_ready() noexcept { return false; }
            std::coroutine_handle<> await_suspend(std::coroutine_handle<promise_type> self) noexcept { return self.promise().outer; }
            void await_resume() noexcept {}
        };
        Back final_suspend() noexcept { return {}; }
        void return_value(int given) { value = given; }
        void unhandled_exception() { std::terminate(); }
    };
    std::coroutine_handle<promise_type> handle;
    explicit Walk(std::coroutine_handle<promise_type> of) : handle(of) {}
    Walk(Walk &&other) : handle(std::exchange(other.handle, nullptr)) {}
    ~Walk()
    {
        if (handle)
            handle.destroy();
    }
    bool await_ready() { return false; }
    std::coroutine_handle<> await_suspend(std::coroutine_handle<> outer)
    {
        handle.promise().outer = outer;
        return handle;
    }
    int await_resume() { return handle.promise().value; }
};

static std::coroutine_handle<> suspended;

struct Pause {
    bool await_ready() { return false; }
    void await_suspend(std::coroutine_handle<> self) { suspended = self; }
    void await_resume() {}
};

static Walk tree(int depth)
{
    touch();
    if (depth == 0) {
        co_await Pause{};
        touch();
        co_return 1;
    }
    int left = co_await tree(depth - 1);
    touch();
    int right = co_await tree(depth - 1);
    co_return left + right;
}

__attribute__((noinline)) static void resume(int depth)
{
    if (depth > 0)
        resume(depth - 1);
    else
        std::exchange(suspended, nullptr).resume();
    touch();
}

int main()
{
    witness_open();
    Walk walk = tree(8);
    suspended = walk.handle;
    for (int i = 0; suspended; i++)
        resume(i % 7);
    say("leaves=%d\n", walk.await_resume());
    return walk.await_resume() != 256;
}
