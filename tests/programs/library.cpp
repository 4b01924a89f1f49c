// What a program makes of the C++ library: containers, strings, streams, a regular expression, function objects, an exception.
// Much of it is inlined or not, as the optimizer likes.
#include <algorithm>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <regex>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

namespace app {

struct Node {
    std::string name;
    std::vector<std::unique_ptr<Node>> children;
};

template <class T> std::vector<T> twice(const std::vector<T> &in)
{
    std::vector<T> out;
    for (const T &each : in) {
        out.push_back(each);
        out.push_back(each);
    }
    return out;
}

std::unique_ptr<Node> build(int depth, int width)
{
    auto node = std::make_unique<Node>();
    node->name = "a node with a long name, " + std::to_string(depth);
    for (int child = 0; depth > 0 && child < width; child++)
        node->children.push_back(build(depth - 1, width));
    return node;
}

size_t total(const Node &node)
{
    std::stringstream text;
    text << node.name;
    size_t size = text.str().size();
    for (const auto &child : node.children)
        size += total(*child);
    return size;
}

struct Index {
    std::map<std::string, std::vector<int>> rows;
    std::unordered_map<std::string, int> seen;
    void add(const std::string &word, int value)
    {
        rows[word].push_back(value);
        seen[word]++;
    }
};

} // namespace app

int main()
{
    app::Index index;
    for (int number = 0; number < 500; number++)
        index.add("a word that is rather long, " + std::to_string(number % 37), number);
    auto tree = app::build(4, 3);
    std::regex expression("(a+)(b|c)*d?");
    std::smatch match;
    std::string text = "xxaaabcbd";
    bool found = std::regex_search(text, match, expression);
    std::function<int(int)> sorted = [&index](int size) {
        std::vector<int> values(size);
        std::sort(values.begin(), values.end());
        return (int)(values.size() + index.rows.size());
    };
    std::vector<std::string> names{"alpha beta gamma delta epsilon", "b"};
    auto all = app::twice(names);
    std::stable_sort(all.begin(), all.end(), [](auto &a, auto &b) { return a.size() < b.size(); });
    std::set<std::string> set(all.begin(), all.end());
    try {
        throw std::runtime_error("an exception with a long text: " + all[0]);
    } catch (std::exception &error) {
        std::cout << error.what() << found << sorted(10) << app::total(*tree) << set.size() << "\n";
    }
}
