// Callers whose names want demangling: a member of a template, a lambda, a container.
#include <cstdlib>
#include <vector>

namespace shop {

template <class T> struct Shelf {
    void *block = nullptr;
    __attribute__((noinline)) void fill(unsigned long size)
    {
        block = std::malloc(size);
        static_cast<char *>(block)[0] = sizeof(T);
    }
};

__attribute__((noinline)) static void *sell(unsigned long size)
{
    auto wrap = [](unsigned long bytes) __attribute__((noinline)) {
        void *block = std::malloc(bytes);
        static_cast<char *>(block)[0] = 1;
        return block;
    };
    return wrap(size);
}

} // namespace shop

int main()
{
    shop::Shelf<int> shelf;
    shelf.fill(6001);
    std::free(shelf.block);
    std::free(shop::sell(6002));
    std::vector<int> goods(6003);
    return goods[0];
}
