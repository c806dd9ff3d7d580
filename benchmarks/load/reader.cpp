// Reads many event streams at once and takes next to nothing for it, so that what is measured is the server.
//
//   reader <deadline> <from> <until> < connections
//
// Times are CLOCK_MONOTONIC in nanoseconds, as the scripted engine stamps its tokens. Each line of the input is one
// connection: its port, a tab, its path, a tab, its cookies. It prints "connected" and how many once every answer has
// begun or failed. It ends when every stream has ended, at the deadline, or at SIGTERM, and prints one JSON object: what
// came, whether the ids went 1, 2, 3, …, and how late those tokens were that were made from `from` to `until`.

#include <arpa/inet.h>
#include <cerrno>
#include <charconv>
#include <cinttypes>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <iostream>
#include <netinet/in.h>
#include <string>
#include <string_view>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

using std::string;
using std::string_view;

namespace {

// Connections whose answer has not begun: more would only wait in the server's backlog.
constexpr int most_opening = 48;
// Between two looks at the sockets: to be woken for every chunk would cost the sender as much as the reader, on
// cores that they share. Every delay is measured so much too long at most.
constexpr timespec nap{0, 1'000'000};
constexpr int64_t bucket_nanoseconds = 20'000;
constexpr size_t buckets = 500'000;  // ten seconds
constexpr string_view stamp_mark = "\"response\":\"";

volatile std::sig_atomic_t has_to_stop = 0;

int64_t now() {
    timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1'000'000'000LL + time.tv_nsec;
}

int64_t number(string_view text, int base = 10) {
    int64_t value = -1;
    std::from_chars(text.data(), text.data() + text.size(), value, base);
    return value;
}

// How late tokens came, in buckets of equal width.
class Delays {
  public:
    void add(int64_t nanoseconds) {
        ++count_;
        longest_ = std::max(longest_, nanoseconds);
        const auto bucket = static_cast<size_t>(std::max<int64_t>(nanoseconds, 0) / bucket_nanoseconds);
        ++counts_[std::min(bucket, buckets - 1)];
    }

    void print() const {
        std::printf("\"measured\": %" PRId64 ", \"longest\": %.5f", count_, longest_ / 1e9);
        for (const auto &[name, share] : {std::pair{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p999", 0.999}})
            std::printf(", \"%s\": %.5f", name, quantile(share));
    }

  private:
    double quantile(double share) const {
        int64_t below = 0;
        for (size_t bucket = 0; bucket < buckets; ++bucket)
            if ((below += counts_[bucket]) >= share * count_) return (bucket + 1) * bucket_nanoseconds / 1e9;
        return 0;
    }

    std::vector<uint32_t> counts_ = std::vector<uint32_t>(buckets);
    int64_t count_ = 0, longest_ = 0;
};

// What came of all connections together. Tokens made from `from` to `until` are measured.
struct Totals {
    int64_t from = 0, until = 0;
    int64_t connected = 0, complete = 0, failed = 0, events = 0, gaps = 0, repeats = 0, comments = 0, reads = 0;
    string failure;  // the first one's
    Delays delays;

    void token(int64_t made_at, int64_t read_at) {
        if (made_at >= from && made_at < until) delays.add(read_at - made_at);
    }
};

// The lines of one event stream, in pieces as they come.
class EventStream {
  public:
    bool is_done = false;

    void feed(string_view data, int64_t read_at, Totals &totals) {
        for (size_t end; (end = data.find('\n')) != string_view::npos; data.remove_prefix(end + 1)) {
            if (rest_.empty()) {
                line(data.substr(0, end), read_at, totals);
            } else {
                rest_ += data.substr(0, end);
                line(rest_, read_at, totals);
                rest_.clear();
            }
        }
        rest_ += data;
    }

  private:
    void line(string_view text, int64_t read_at, Totals &totals) {
        if (text.starts_with("id: ")) {
            const int64_t id = number(text.substr(4));
            totals.gaps += id > last_id_ + 1;
            totals.repeats += id <= last_id_;
            last_id_ = id;
            ++totals.events;
        } else if (text == "data: [DONE]") {
            is_done = true;
        } else if (text.starts_with("data: ")) {
            const size_t mark = text.find(stamp_mark);
            if (mark != string_view::npos) totals.token(number(text.substr(mark + stamp_mark.size())), read_at);
        } else if (text.starts_with(":")) {
            ++totals.comments;
        }
    }

    string rest_;
    int64_t last_id_ = 0;
};

// One connection, from its request to the end of its answer.
class Connection {
  public:
    Connection(int port, string request) : port_(port), request_(std::move(request)) {}

    int socket() const { return socket_; }
    bool is_open() const { return socket_ >= 0; }
    bool has_begun() const { return has_begun_; }

    bool open() {
        socket_ = ::socket(AF_INET, SOCK_STREAM, 0);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(static_cast<uint16_t>(port_));
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        return socket_ >= 0 && connect(socket_, reinterpret_cast<sockaddr *>(&address), sizeof address) == 0 &&
               send(socket_, request_.data(), request_.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(request_.size());
    }

    // Take what was read; an error's words where the answer is none.
    string feed(string_view data, int64_t read_at, Totals &totals) {
        if (!has_begun_) {
            head_ += data;
            const size_t end = head_.find("\r\n\r\n");
            if (end == string::npos) return {};
            if (!head_.starts_with("HTTP/1.1 200")) return head_.substr(0, head_.find('\r'));
            if (head_.find("chunked") == string::npos) return "an answer that is not chunked";
            has_begun_ = true;
            const string rest = head_.substr(end + 4);
            head_.clear();
            return feed(rest, read_at, totals);
        }
        while (!data.empty() && !has_ended_) {
            if (left_ > 0) {
                const auto part = data.substr(0, left_);
                events_.feed(part, read_at, totals);
                data.remove_prefix(part.size());
                left_ -= part.size();
                continue;
            }
            // The end of the chunk before, and the size of the next.
            const size_t end = data.find('\n');
            head_ += data.substr(0, end);
            if (end == string_view::npos) return {};
            data.remove_prefix(end + 1);
            if (head_ != "\r") {
                left_ = static_cast<size_t>(number(head_, 16));
                has_ended_ = left_ == 0;
            }
            head_.clear();
        }
        return {};
    }

    bool has_ended() const { return has_ended_; }
    bool is_complete() const { return has_ended_ && events_.is_done; }

    void close() {
        if (is_open()) ::close(socket_);
        socket_ = -1;
    }

  private:
    int port_;
    string request_;
    int socket_ = -1;
    bool has_begun_ = false, has_ended_ = false;
    // The answer's head, then the line with a chunk's size, while incomplete.
    string head_;
    size_t left_ = 0;
    EventStream events_;
};

class Reader {
  public:
    Reader(std::vector<Connection> connections, int64_t deadline, int64_t from, int64_t until)
        : connections_(std::move(connections)), deadline_(deadline) {
        totals_.from = from;
        totals_.until = until;
    }

    void run() {
        std::vector<epoll_event> ready(4096);
        size_t opened = 0;
        bool is_told = false;
        const auto count = static_cast<int64_t>(connections_.size());
        while (totals_.complete + totals_.failed < count && now() < deadline_ && !has_to_stop) {
            while (opened < connections_.size() && opening_ < most_opening) open(connections_[opened++]);
            if (!is_told && opened == connections_.size() && opening_ == 0) {
                is_told = true;
                std::printf("connected %" PRId64 "\n", totals_.connected);
                std::fflush(stdout);
            }
            const int events = epoll_wait(epoll_, ready.data(), static_cast<int>(ready.size()), 100);
            for (int at = 0; at < events; ++at) read(*static_cast<Connection *>(ready[at].data.ptr));
            nanosleep(&nap, nullptr);
        }
    }

    void print() const {
        std::printf("{\"connected\": %" PRId64 ", \"complete\": %" PRId64 ", \"failed\": %" PRId64
                    ", \"events\": %" PRId64 ", \"gaps\": %" PRId64 ", \"repeats\": %" PRId64
                    ", \"comments\": %" PRId64 ", \"reads\": %" PRId64 ", ",
                    totals_.connected, totals_.complete, totals_.failed, totals_.events, totals_.gaps,
                    totals_.repeats, totals_.comments, totals_.reads);
        totals_.delays.print();
        std::printf(", \"failure\": \"%s\"}\n", totals_.failure.c_str());
    }

  private:
    void open(Connection &connection) {
        ++opening_;
        epoll_event interest{EPOLLIN, {&connection}};
        if (!connection.open() || epoll_ctl(epoll_, EPOLL_CTL_ADD, connection.socket(), &interest) != 0)
            end(connection, std::strerror(errno));
    }

    void read(Connection &connection) {
        const ssize_t size = recv(connection.socket(), buffer_.data(), buffer_.size(), 0);
        ++totals_.reads;
        if (size <= 0) return end(connection, size == 0 ? "the connection ended" : std::strerror(errno));
        const bool had_begun = connection.has_begun();
        const string_view data(buffer_.data(), static_cast<size_t>(size));
        const string error = connection.feed(data, now(), totals_);
        if (connection.has_begun() && !had_begun) {
            ++totals_.connected;
            --opening_;
        }
        if (!error.empty() || connection.has_ended()) end(connection, error);
    }

    void end(Connection &connection, const string &error) {
        opening_ -= !connection.has_begun();
        totals_.complete += connection.is_complete();
        totals_.failed += !connection.is_complete();
        if (!connection.is_complete() && totals_.failure.empty())
            totals_.failure = error.empty() ? "a stream ended without its end" : error;
        connection.close();
    }

    std::vector<Connection> connections_;
    int64_t deadline_;
    int epoll_ = epoll_create1(0);
    int opening_ = 0;
    string buffer_ = string(1 << 16, '\0');
    Totals totals_;
};

std::vector<Connection> read_connections() {
    std::vector<Connection> connections;
    for (string port, path, cookies; std::getline(std::cin, port, '\t') && std::getline(std::cin, path, '\t') &&
                                     std::getline(std::cin, cookies);)
        connections.emplace_back(std::stoi(port), "GET " + path + " HTTP/1.1\r\nHost: 127.0.0.1:" + port +
                                                      "\r\nAccept: text/event-stream\r\nCookie: " + cookies +
                                                      "\r\n\r\n");
    return connections;
}

}  // namespace

int main(int count, char **arguments) {
    if (count != 4) {
        std::fputs("reader <deadline> <from> <until> < connections\n", stderr);
        return 2;
    }
    std::signal(SIGTERM, [](int) { has_to_stop = 1; });
    Reader reader(read_connections(), std::stoll(arguments[1]), std::stoll(arguments[2]), std::stoll(arguments[3]));
    reader.run();
    reader.print();
    return 0;
}
