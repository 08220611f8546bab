/* A teacher that costs nothing: a fixed answer to every POST, after an optional delay.
 *
 *     cc -O2 -o teacher teacher.c && ./teacher BODY_FILE [DELAY_MS]
 *
 * One epoll loop, HTTP/1.1 with keep-alive. It prints its port, then serves until it is killed.
 * About 10 microseconds of CPU a request, so that two cores measure the client and not the server.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTIONS = 8192, ROOM = 1 << 16 };

struct connection {
    char *data; /* what came of the request */
    size_t used;
    size_t sent; /* of the answer */
    int answering;
};

static struct connection connections[CONNECTIONS];
static char *answer;
static size_t answer_size;
static int loop;

/* The delays are equal, so a ring in order of arrival is sorted by when it is due. */
static struct { int fd; double due; } ring[CONNECTIONS];
static size_t ring_head, ring_tail;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static void watch(int fd, unsigned events, int how)
{
    struct epoll_event event = {.events = events, .data.fd = fd};
    epoll_ctl(loop, how, fd, &event);
}

static void drop(int fd)
{
    close(fd);
    free(connections[fd].data);
    memset(&connections[fd], 0, sizeof connections[fd]);
}

static void reply(int fd)
{
    struct connection *one = &connections[fd];
    if (!one->answering)
        return;
    while (one->sent < answer_size) {
        ssize_t n = send(fd, answer + one->sent, answer_size - one->sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) {
            watch(fd, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
            return;
        }
        if (n < 0) {
            drop(fd);
            return;
        }
        one->sent += n;
    }
    one->answering = 0;
    watch(fd, EPOLLIN, EPOLL_CTL_MOD);
}

/* Whether a whole request lies in the buffer; it is then taken out. */
static int whole(struct connection *one)
{
    char *end = memmem(one->data, one->used, "\r\n\r\n", 4);
    if (!end)
        return 0;
    size_t head = end + 4 - one->data, body = 0;
    for (char *line = one->data; line < end; line++)
        if (*line == '\n' && !strncasecmp(line + 1, "content-length:", 15))
            body = strtoul(line + 16, NULL, 10);
    if (one->used < head + body)
        return 0;
    memmove(one->data, one->data + head + body, one->used - head - body);
    one->used -= head + body;
    return 1;
}

static void receive(int fd, double delay)
{
    struct connection *one = &connections[fd];
    if (!one->data)
        one->data = malloc(ROOM);
    ssize_t n = recv(fd, one->data + one->used, ROOM - 1 - one->used, 0);
    if (n <= 0) {
        if (n == 0 || errno != EAGAIN)
            drop(fd);
        return;
    }
    one->used += n;
    one->data[one->used] = 0;
    if (!whole(one))
        return;
    one->answering = 1;
    one->sent = 0;
    if (delay <= 0) {
        reply(fd);
        return;
    }
    ring[ring_tail % CONNECTIONS].fd = fd;
    ring[ring_tail++ % CONNECTIONS].due = now() + delay;
}

static void accept_all(int listener)
{
    int fd, on = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        if (fd >= CONNECTIONS) {
            close(fd);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        watch(fd, EPOLLIN, EPOLL_CTL_ADD);
    }
}

static void load(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        exit(1);
    fseek(file, 0, SEEK_END);
    size_t size = ftell(file);
    rewind(file);
    answer = malloc(size + 512);
    answer_size = sprintf(answer,
                          "HTTP/1.1 200 OK\r\nserver: bench\r\ncontent-type: application/json\r\n"
                          "x-request-id: req_0123456789abcdef\r\n"
                          "x-ratelimit-limit-requests: 1000000\r\n"
                          "x-ratelimit-remaining-requests: 999999\r\n"
                          "openai-processing-ms: 12\r\ncontent-length: %zu\r\n\r\n",
                          size);
    answer_size += fread(answer + answer_size, 1, size, file);
    fclose(file);
}

int main(int count, char **given)
{
    load(given[1]);
    double delay = count > 2 ? atof(given[2]) : 0;
    struct rlimit files = {CONNECTIONS, CONNECTIONS};
    setrlimit(RLIMIT_NOFILE, &files);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    bind(listener, (struct sockaddr *)&at, size);
    listen(listener, 4096);
    getsockname(listener, (struct sockaddr *)&at, &size);
    printf("%d\n", ntohs(at.sin_port));
    fflush(stdout);
    loop = epoll_create1(0);
    watch(listener, EPOLLIN, EPOLL_CTL_ADD);
    struct epoll_event events[256];
    for (;;) {
        double wait = ring_head < ring_tail ? ring[ring_head % CONNECTIONS].due - now() : 1000;
        int n = epoll_wait(loop, events, 256, wait < 0 ? 0 : (int)wait + (wait > (int)wait));
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == listener)
                accept_all(fd);
            else if (events[i].events & EPOLLOUT)
                reply(fd);
            else
                receive(fd, delay);
        }
        while (ring_head < ring_tail && ring[ring_head % CONNECTIONS].due <= now())
            reply(ring[ring_head++ % CONNECTIONS].fd);
    }
}
