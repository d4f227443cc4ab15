/* underlay-shim: what a container runtime executes as `veth`, `router`, `vxlan`, …
 *
 * It carries a call to the agent and the answer back, and understands neither. One stream connection
 * for each call, to /run/underlay/agent.sock (UNDERLAY_SOCKET overrides). Numbers are unsigned, of 32
 * bits, in network byte order; a length counts the bytes that come after it.
 *
 *     request   length, then fields, each of them length and bytes: the name by which this was called
 *               (last part of argv[0]); standard input; NAME=value of each variable CNI_*
 *               with its first byte, as SCM_RIGHTS: the network namespace of this process and, where
 *               it is there, the file that CNI_NETNS names, of whatever kind
 *     reply     length, exit code, length and standard output, length and standard error
 *
 * How a call ends:
 *
 *     a whole reply                                 it is printed, and its exit code is ours
 *     no agent, or it closed before a first byte    the fallback: the same call in a Python process
 *     no fallback either                            error 11, which names the socket
 *     a reply that breaks off or makes no sense     error 11; the work may be done, doing it again is safe
 *     no whole reply in TIMEOUT_MS                  error 11; the agent sees the end of the connection and
 *                                                   reverts, so that two never work at one call
 *     more than MAX_REQUEST bytes                   error 6
 *     standard input that can't be read             error 5
 *     no CNI_COMMAND: a person calls                the fallback, which says what this is
 *
 * The fallback is found by the file .underlay-python beside the executable: the path of an interpreter
 * and the directory of the package, a line each. It gets standard input as it was read here.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#ifndef TIMEOUT_MS
#define TIMEOUT_MS 120000
#endif

enum { MAX_REQUEST = 8 << 20, MAX_REPLY = 64 << 20, NUMBER = 4, NEVER = -1 };
enum { IO_FAILURE = 5, DECODING_FAILURE = 6, TRY_AGAIN_LATER = 11 }; /* CNI SPEC, "Error" */

static const char *socket_path = "/run/underlay/agent.sock";
static unsigned char request[NUMBER + MAX_REQUEST + 1]; /* one byte more shows that there is too much */
static size_t request_size = NUMBER, stdin_start, stdin_size;
static int agent = -1;
static long long deadline = NEVER; /* of all that is done with the agent; CLOCK_MONOTONIC in ms */
static char details[1024];         /* what failed and was not the end yet */

static void note(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void fail(int code, const char *format, ...) __attribute__((format(printf, 2, 3), noreturn));
static bool write_all(int to, const void *bytes, size_t count);

/* What went wrong */

static void note(const char *format, ...)
{
    size_t used = strlen(details);
    va_list arguments;
    if (used && used + 3 < sizeof details)
        used = stpcpy(details + used, "; ") - details;
    va_start(arguments, format);
    vsnprintf(details + used, sizeof details - used, format, arguments);
    va_end(arguments);
}

/* Makes it the inside of a JSON string. A path may hold any byte. */
static char *cleaned(char *text)
{
    for (char *each = text; *each; each++)
        if (*each < ' ' || *each > '~' || *each == '"' || *each == '\\')
            *each = '?';
    return text;
}

/* Prints a CNI error and ends. The agent is let go first: standard output may make us wait. */
static void fail(int code, const char *format, ...)
{
    static const char json[] =
        "{\"cniVersion\": \"1.1.0\", \"code\": %d, \"msg\": \"%s\", \"details\": \"%s\"}\n";
    char msg[sizeof details], all[sizeof json + sizeof msg + sizeof details];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(msg, sizeof msg, format, arguments);
    va_end(arguments);
    close(agent);
    deadline = NEVER;
    write_all(STDOUT_FILENO, all, snprintf(all, sizeof all, json, code, cleaned(msg), cleaned(details)));
    exit(1);
}

/* Waiting, reading, writing */

static long long now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000LL + time.tv_nsec / 1000000;
}

/* In ms, for poll(2). At the deadline the call has failed. */
static int time_left(void)
{
    if (deadline == NEVER)
        return NEVER;
    long long left = deadline - now();
    if (left > 0)
        return (int)left;
    note("the call is given up, and an agent that has it reverts it");
    fail(TRY_AGAIN_LATER, "the agent at %s has not answered within %g s", socket_path, TIMEOUT_MS / 1e3);
}

/* Whether a call that failed is to be made again; waits until there is something to do for it. */
static bool is_passing(int descriptor, short events)
{
    struct pollfd wanted = {.fd = descriptor, .events = events};
    if (errno == EAGAIN)
        poll(&wanted, 1, time_left());
    return errno == EAGAIN || errno == EINTR;
}

/* Reads to the end, or until there is no room; returns how many bytes. errno is 0 or says why not all. */
static size_t read_all(int from, void *into, size_t room)
{
    size_t size = 0;
    ssize_t got;
    do {
        errno = 0;
        got = read(from, (char *)into + size, room - size);
        size += got > 0 ? got : 0;
    } while (size < room && (got > 0 || is_passing(from, POLLIN)));
    return size;
}

/* Whether all was written; errno says why not. */
static bool write_all(int to, const void *bytes, size_t count)
{
    for (size_t put = 0; put < count;) {
        ssize_t more = write(to, (const char *)bytes + put, count - put);
        if (more < 0 && !is_passing(to, POLLOUT))
            return false;
        put += more > 0 ? more : 0;
    }
    return true;
}

static uint32_t number_at(const unsigned char *at)
{
    uint32_t number;
    memcpy(&number, at, NUMBER);
    return ntohl(number);
}

static void put_number(unsigned char *at, uint32_t number)
{
    number = htonl(number);
    memcpy(at, &number, NUMBER);
}

/* The request */

/* Of a field whose bytes are in place, or will be. */
static void end_field(size_t size)
{
    if (request_size + NUMBER + size > NUMBER + MAX_REQUEST)
        fail(DECODING_FAILURE, "standard input and CNI_* are larger than %d MiB", MAX_REQUEST >> 20);
    put_number(request + request_size, size);
    request_size += NUMBER + size;
}

static void add_field(const char *text)
{
    size_t size = strlen(text);
    end_field(size);
    memcpy(request + request_size - size, text, size);
}

static void make_request(const char *name)
{
    add_field(name);
    stdin_start = request_size + NUMBER;
    stdin_size = read_all(STDIN_FILENO, request + stdin_start, sizeof request - stdin_start);
    if (errno)
        fail(IO_FAILURE, "reading standard input: %s", strerror(errno));
    end_field(stdin_size);
    for (char **variable = environ; *variable; variable++)
        if (!strncmp(*variable, "CNI_", 4))
            add_field(*variable);
    put_number(request, request_size - NUMBER);
}

/* Opens what the agent is to act in; returns how many. None where it would know less than this process. */
static int open_namespaces(int opened[2])
{
    opened[0] = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (opened[0] < 0) {
        note("agent not asked: /proc/self/ns/net: %s", strerror(errno));
        return 0;
    }
    const char *pod = getenv("CNI_NETNS");
    if (!pod)
        return 1;
    opened[1] = open(pod, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY); /* no FIFO makes us wait */
    if (opened[1] >= 0)
        return 2;
    if (errno == ENOENT || errno == ENOTDIR)
        return 1;
    note("agent not asked: CNI_NETNS %.300s: %s", pod, strerror(errno)); /* no proof that it is gone */
    return 0;
}

/* Speaking with the agent */

static bool connect_to_agent(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    errno = ENAMETOOLONG;
    if (strlen(socket_path) >= sizeof address.sun_path)
        return false;
    strcpy(address.sun_path, socket_path);
    agent = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (agent < 0)
        return false;
    do { /* waits where the agent's queue is full: connect(2) and SO_SNDTIMEO of socket(7) */
        int left = time_left();
        struct timeval limit = {.tv_sec = left / 1000, .tv_usec = left % 1000 * 1000};
        setsockopt(agent, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
        if (!connect(agent, (struct sockaddr *)&address, sizeof address))
            return !fcntl(agent, F_SETFL, O_NONBLOCK);
    } while (errno == EINTR || errno == EAGAIN);
    return false;
}

/* Whether the agent has the request, or has closed early, perhaps with a reply; errno says why not. */
static bool send_request(const int *descriptors, int count)
{
    union {
        struct cmsghdr header; /* aligns it */
        char bytes[CMSG_SPACE(2 * sizeof(int))];
    } rights = {.header = {.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
    struct iovec all = {.iov_base = request, .iov_len = request_size};
    struct msghdr message = {.msg_iov = &all, .msg_iovlen = 1, .msg_control = &rights};
    message.msg_controllen = CMSG_SPACE(count * sizeof(int));
    rights.header.cmsg_len = CMSG_LEN(count * sizeof(int));
    memcpy(CMSG_DATA(&rights.header), descriptors, count * sizeof(int));
    ssize_t sent;
    do
        sent = sendmsg(agent, &message, 0);
    while (sent < 0 && is_passing(agent, POLLOUT));
    return (sent >= 0 && write_all(agent, request + sent, request_size - sent)) || errno == EPIPE ||
           errno == ECONNRESET;
}

static void expect(bool is_so, const char *otherwise)
{
    if (is_so)
        return;
    note("%s; the work may be done, and to do it again is safe", otherwise);
    fail(TRY_AGAIN_LATER, "the reply of the agent at %s is broken", socket_path);
}

/* Prints what a reply holds and ends with its exit code. */
static void pass_on(const unsigned char *reply, size_t size)
{
    expect(size >= 3 * NUMBER, "it is too short");
    uint32_t code = number_at(reply), output = number_at(reply + NUMBER), room = size - 3 * NUMBER;
    expect(code <= 255 && output <= room, "its exit code or the length of standard output makes no sense");
    const unsigned char *stdout_start = reply + 2 * NUMBER, *stderr_field = stdout_start + output;
    expect(number_at(stderr_field) == room - output, "the length of standard error makes no sense");
    bool is_printed = write_all(STDOUT_FILENO, stdout_start, output);
    if (!is_printed)
        dprintf(STDERR_FILENO, "writing to standard output: %s\n", strerror(errno));
    write_all(STDERR_FILENO, stderr_field + NUMBER, room - output);
    exit(is_printed ? (int)code : 1);
}

/* Ends with the agent's reply; returns where not even its first byte has come. */
static void await_reply(void)
{
    unsigned char length[NUMBER];
    size_t got = read_all(agent, length, NUMBER);
    if (!got) {
        note("the agent closed the connection");
        return;
    }
    expect(got == NUMBER, "it broke off");
    size_t size = number_at(length);
    expect(size <= MAX_REPLY, "it is too long");
    unsigned char *reply = malloc(size + 1);
    expect(reply, "there is no memory for it");
    expect(read_all(agent, reply, size) == size, "it broke off");
    deadline = NEVER;
    pass_on(reply, size);
}

/* Ends with what the agent answers; returns where there is none that does. */
static void ask_agent(void)
{
    int descriptors[2], count = open_namespaces(descriptors);
    if (!count)
        return;
    deadline = now() + TIMEOUT_MS;
    if (!connect_to_agent())
        note("connect: %s", strerror(errno));
    else if (!send_request(descriptors, count))
        note("send: %s", strerror(errno));
    else
        await_reply();
    close(agent);
    agent = -1;
    deadline = NEVER;
}

/* The fallback */

/* The file beside the executable, wherever that is: argv[0] may be anything. */
static bool find_python_file(char path[PATH_MAX])
{
    static const char name[] = ".underlay-python";
    ssize_t room = PATH_MAX - sizeof name, size = readlink("/proc/self/exe", path, room);
    char *slash = size > 0 && size < room ? memrchr(path, '/', size) : NULL;
    if (slash)
        strcpy(slash + 1, name);
    else
        note("/proc/self/exe: %s", size < 0 ? strerror(errno) : "not a path to work with");
    return slash;
}

/* Reads the two lines into `text`; returns where the second one begins, NULL where they are not there. */
static char *read_python_file(char *text, size_t room)
{
    char path[PATH_MAX];
    if (!find_python_file(path))
        return NULL;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    size_t size = file < 0 ? 0 : read_all(file, text, room - 1);
    if (errno) {
        note("%.300s: %s", path, strerror(errno));
        return NULL;
    }
    close(file);
    text[size] = '\0';
    char *first_end = strchr(text, '\n'), *second_end = first_end ? strchr(first_end + 1, '\n') : NULL;
    if (!second_end || text[0] != '/' || first_end[1] != '/') {
        note("%.300s: not two lines, the paths of an interpreter and of the package's directory", path);
        return NULL;
    }
    *first_end = *second_end = '\0';
    return first_end + 1;
}

/* Becomes the interpreter; returns where there is none. As isolated as the launcher of install.py is. */
static void become_python(const char *name)
{
    static char program[] = "import gc, sys\n"
                            "gc.disable()\n" /* one call is over before a collection would pay */
                            "sys.path.insert(0, sys.argv[2])\n"
                            "from underlay.oneshot import main\n"
                            "sys.exit(main(sys.argv[1]))\n";
    char python[2 * PATH_MAX], *package = read_python_file(python, sizeof python);
    if (!package)
        return;
    execv(python, (char *[]){python, "-I", "-S", "-c", program, (char *)name, package, NULL});
    note("%.300s: %s", python, strerror(errno));
}

static void give_stdin_back(void)
{
    int copy = memfd_create("stdin", MFD_CLOEXEC);
    if (copy < 0 || !write_all(copy, request + stdin_start, stdin_size) || lseek(copy, 0, SEEK_SET) ||
        dup2(copy, STDIN_FILENO))
        fail(IO_FAILURE, "keeping standard input for Python: %s", strerror(errno));
}

/* What the caller left closed would be given to the next file or socket that is opened. */
static void fill_standard_descriptors(void)
{
    int opened;
    do
        opened = open("/dev/null", O_RDWR);
    while (opened >= 0 && opened <= STDERR_FILENO);
    close(opened);
}

int main(int argc, char **argv)
{
    const char *path = argc ? argv[0] : "", *slash = strrchr(path, '/'), *other = getenv("UNDERLAY_SOCKET");
    const char *name = slash ? slash + 1 : path;
    socket_path = other && *other ? other : socket_path;
    fill_standard_descriptors();
    signal(SIGPIPE, SIG_IGN); /* as Python has it as well */
    if (!getenv("CNI_COMMAND")) {
        become_python(name);
        dprintf(STDERR_FILENO, "CNI plugin %s (underlay)\n", name);
        return 0;
    }
    make_request(name);
    ask_agent();
    give_stdin_back();
    become_python(name);
    fail(TRY_AGAIN_LATER, "no agent answers at %.300s, and there is no Python to do without", socket_path);
}
