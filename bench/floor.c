/* floor: what one ADD or DEL asks of the kernel, and nothing else.
 *
 * What a plugin is measured against: the same changes with no thought, no record and no check. It reads
 * what to do as lines, encodes all of it before the clock starts, then sends it in as few datagrams as
 * there are changes of namespace. `run` carries out the lines since the last `run` and prints four numbers:
 *
 *     <begin> <end> <kernel> <messages>
 *
 * CLOCK_MONOTONIC in ns when it began to open the pod's namespace and when the last acknowledgement
 * was there; how many ns of that were sends, acknowledgements and writes to files; how many these were.
 * It serves one run after another until its input ends; with one alone it is what an executable costs, and
 * reading its lines counts, some 0.9 µs each.
 *
 *     netns PATH                                     the pod's namespace
 *     add host pair INDEX name N mac M mtu B peer INDEX peername N peermac M
 *     add host macvlan INDEX name N mac M mtu B on INDEX        made in the pod, down
 *     add NS set INDEX [up] [rp_filter N] [arp_ignore N] [arp_notify N]
 *     add NS sysctl PATH VALUE                       ipv6/conf/DEV/KEY: what no link carries
 *     add pod address ADDRESS/LENGTH dev INDEX
 *     add NS neigh ADDRESS mac M dev INDEX proto P
 *     add NS route DST dev INDEX [via A] [src A] [table T] [proto P] [metric M] [onlink]
 *     add NS rule FROM priority P table T proto P
 *     delete NS link INDEX      and `delete` before a neigh, route or rule that `add` made
 *
 * It does less than a plugin in three ways: it reads nothing of the kernel (what is there, who else has the
 * address), it is told the index that a new link shall have (rtnetlink(7), ifi_index of RTM_NEWLINK), so it
 * asks for none and needs no echo; and it does not look whether what all pods share is still there. It
 * does more in one: a DEL ends when the kernel has ended, 10 to 30 ms after the link is gone.
 *
 * All else are tricks that a plugin can use as well. A link is made where it belongs, under its name and with
 * its MAC; one queue an end spares the kernel two grace periods; a near end is born up, the far end goes up in
 * the next message there; a link's settings are one message; one acknowledgement a datagram will do, since
 * a refusal is told without being asked for; a file below /proc/sys/net is opened from its directory,
 * because the names of all namespaces are in one chain there.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fib_rules.h>
#include <linux/if_link.h>
#include <linux/ip.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { HOST, POD, NAMESPACES };
enum { MAX_WORDS = 32, MAX_MESSAGES = 8192, MAX_BYTES = 1 << 20, MAX_DATAGRAM = 64 << 10 };

struct words {
    int count;
    char *word[MAX_WORDS];
};

struct ip {
    int family;
    int length; /* in bytes */
    int prefix; /* in bits */
    unsigned char bytes[16];
};

struct message {
    int where; /* HOST or POD */
    struct nlmsghdr *header; /* NULL: not a message, but a file to write */
    char file[64], value[16]; /* the file below /proc/sys/net/ipv6/conf */
    char text[160]; /* its line, for a person who reads why it was refused */
};

static struct message messages[MAX_MESSAGES];
static int message_count;
static char bytes[MAX_BYTES] __attribute__((aligned(NLMSG_ALIGNTO)));
static size_t byte_count;
static uint32_t *netns_slot; /* where a message holds the descriptor of the pod's namespace */
static char netns_path[256];
static uint32_t sequence;

static void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

static void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("floor: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    exit(1);
}

static long long now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

/* Reading a line */

static struct words split(char *line)
{
    struct words words = {0};
    for (char *word = strtok(line, " \n"); word; word = strtok(NULL, " \n")) {
        if (words.count == MAX_WORDS)
            die("a line of more than %d words", MAX_WORDS);
        words.word[words.count++] = word;
    }
    return words;
}

static bool says(const struct words *words, int place, const char *word)
{
    return place < words->count && !strcmp(words->word[place], word);
}

/* The word that follows `name`; NULL where the line does not have it. */
static const char *after(const struct words *words, const char *name)
{
    for (int place = 3; place + 1 < words->count; place++)
        if (!strcmp(words->word[place], name))
            return words->word[place + 1];
    return NULL;
}

static bool has(const struct words *words, const char *name)
{
    for (int place = 3; place < words->count; place++)
        if (!strcmp(words->word[place], name))
            return true;
    return false;
}

static const char *required(const struct words *words, const char *name)
{
    const char *word = after(words, name);
    if (!word)
        die("`%s` is missing behind `%s %s`", name, words->word[1], words->word[2]);
    return word;
}

static uint32_t number(const char *text)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (!*text || *end)
        die("%s is not a number", text);
    return value;
}

static uint32_t number_after(const struct words *words, const char *name, uint32_t otherwise)
{
    const char *word = after(words, name);
    return word ? number(word) : otherwise;
}

static struct ip parse_ip(const char *text)
{
    char address[64] = "";
    struct ip ip = {0};
    const char *slash = strchr(text, '/');
    size_t length = slash ? (size_t)(slash - text) : strlen(text);
    if (length < sizeof address)
        memcpy(address, text, length);
    ip.family = strchr(address, ':') ? AF_INET6 : AF_INET;
    ip.length = ip.family == AF_INET ? 4 : 16;
    ip.prefix = slash ? (int)number(slash + 1) : ip.length * 8;
    if (inet_pton(ip.family, address, ip.bytes) != 1)
        die("%s is not an address", text);
    return ip;
}

static void parse_mac(const char *text, unsigned char mac[6])
{
    if (sscanf(text, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", mac, mac + 1, mac + 2, mac + 3, mac + 4, mac + 5) != 6)
        die("%s is not a MAC", text);
}

/* Encoding a message (RFC 3549; rtnetlink(7)) */

static void *grow(size_t size)
{
    size_t aligned = NLMSG_ALIGN(size);
    if (byte_count + aligned > MAX_BYTES)
        die("more than %d bytes in one run", MAX_BYTES);
    void *start = memset(bytes + byte_count, 0, aligned);
    byte_count += aligned;
    return start;
}

static void begin(int where, int type, int flags, const void *body, size_t size)
{
    if (message_count == MAX_MESSAGES)
        die("more than %d messages in one run", MAX_MESSAGES);
    struct nlmsghdr *header = grow(NLMSG_HDRLEN);
    header->nlmsg_type = type;
    header->nlmsg_flags = NLM_F_REQUEST | flags;
    header->nlmsg_seq = ++sequence;
    memcpy(grow(size), body, size);
    messages[message_count].where = where;
    messages[message_count++].header = header;
}

static void *attribute(int type, const void *value, size_t size)
{
    struct rtattr *attribute = grow(RTA_LENGTH(size));
    attribute->rta_type = type;
    attribute->rta_len = RTA_LENGTH(size);
    if (size)
        memcpy(RTA_DATA(attribute), value, size);
    return attribute;
}

static struct rtattr *open_nest(int type)
{
    return attribute(type, NULL, 0);
}

static void close_nest(struct rtattr *nest)
{
    nest->rta_len = bytes + byte_count - (char *)nest;
}

static void *number_attribute(int type, uint32_t value)
{
    return RTA_DATA((struct rtattr *)attribute(type, &value, sizeof value));
}

static void text_attribute(int type, const char *text)
{
    attribute(type, text, strlen(text) + 1);
}

static void mac_attribute(int type, const char *text)
{
    unsigned char mac[6];
    parse_mac(text, mac);
    attribute(type, mac, sizeof mac);
}

static void end(void)
{
    struct nlmsghdr *header = messages[message_count - 1].header;
    header->nlmsg_len = bytes + byte_count - (char *)header;
}

/* The kinds of object. `line` is `add|delete NS KIND WHAT …`; words 3 and up describe it. */

static void link_attributes(const char *name, const char *mac, uint32_t mtu)
{
    text_attribute(IFLA_IFNAME, name);
    mac_attribute(IFLA_ADDRESS, mac);
    number_attribute(IFLA_MTU, mtu);
    number_attribute(IFLA_NUM_TX_QUEUES, 1);
    number_attribute(IFLA_NUM_RX_QUEUES, 1);
}

static void pair(int where, const struct words *line)
{
    struct ifinfomsg near = {.ifi_index = number(line->word[3]), .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
    struct ifinfomsg far = {.ifi_index = number(required(line, "peer"))};
    uint32_t mtu = number(required(line, "mtu"));
    begin(where, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &near, sizeof near);
    link_attributes(required(line, "name"), required(line, "mac"), mtu);
    struct rtattr *info = open_nest(IFLA_LINKINFO);
    text_attribute(IFLA_INFO_KIND, "veth");
    struct rtattr *data = open_nest(IFLA_INFO_DATA);
    struct rtattr *peer = attribute(VETH_INFO_PEER, &far, sizeof far);
    link_attributes(required(line, "peername"), required(line, "peermac"), mtu);
    netns_slot = number_attribute(IFLA_NET_NS_FD, 0);
    close_nest(peer);
    close_nest(data);
    close_nest(info);
    end();
}

static void macvlan(int where, const struct words *line)
{
    struct ifinfomsg link = {.ifi_index = number(line->word[3])};
    begin(where, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &link, sizeof link);
    text_attribute(IFLA_IFNAME, required(line, "name"));
    mac_attribute(IFLA_ADDRESS, required(line, "mac"));
    number_attribute(IFLA_MTU, number(required(line, "mtu")));
    number_attribute(IFLA_LINK, number(required(line, "on")));
    netns_slot = number_attribute(IFLA_NET_NS_FD, 0);
    struct rtattr *info = open_nest(IFLA_LINKINFO);
    text_attribute(IFLA_INFO_KIND, "macvlan");
    struct rtattr *data = open_nest(IFLA_INFO_DATA);
    number_attribute(IFLA_MACVLAN_MODE, MACVLAN_MODE_BRIDGE);
    close_nest(data);
    close_nest(info);
    end();
}

/* Settings that a link carries, all in one message; and whether it is up. */
static void set(int where, const struct words *line)
{
    static const struct {
        const char *name;
        int place;
    } settings[] = {
        {"rp_filter", IPV4_DEVCONF_RP_FILTER},
        {"arp_ignore", IPV4_DEVCONF_ARP_IGNORE},
        {"arp_notify", IPV4_DEVCONF_ARP_NOTIFY},
    };
    unsigned flag = has(line, "up") ? IFF_UP : 0;
    struct ifinfomsg link = {.ifi_index = number(line->word[3]), .ifi_flags = flag, .ifi_change = flag};
    begin(where, RTM_NEWLINK, 0, &link, sizeof link);
    if (line->count > (flag ? 5 : 4)) {
        struct rtattr *families = open_nest(IFLA_AF_SPEC);
        struct rtattr *ipv4 = open_nest(AF_INET);
        struct rtattr *values = open_nest(IFLA_INET_CONF);
        for (size_t each = 0; each < sizeof settings / sizeof *settings; each++) {
            const char *value = after(line, settings[each].name);
            if (value)
                number_attribute(settings[each].place, number(value));
        }
        close_nest(values);
        close_nest(ipv4);
        close_nest(families);
    }
    end();
}

static void delete_link(int where, const struct words *line)
{
    struct ifinfomsg link = {.ifi_index = number(line->word[3])};
    begin(where, RTM_DELLINK, 0, &link, sizeof link);
    end();
}

static void address(int where, const struct words *line)
{
    struct ip ip = parse_ip(line->word[3]);
    struct ifaddrmsg header = {
        .ifa_family = ip.family, .ifa_prefixlen = ip.prefix, .ifa_index = number(required(line, "dev"))};
    if (ip.family == AF_INET6)
        header.ifa_flags = IFA_F_NODAD; /* a route through a tentative address is refused */
    begin(where, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &header, sizeof header);
    attribute(IFA_LOCAL, ip.bytes, ip.length);
    attribute(IFA_ADDRESS, ip.bytes, ip.length);
    end();
}

static void neighbour(int where, const struct words *line, bool is_new)
{
    struct ip ip = parse_ip(line->word[3]);
    struct ndmsg header = {.ndm_family = ip.family,
                           .ndm_ifindex = number(required(line, "dev")),
                           .ndm_state = is_new ? NUD_PERMANENT : NUD_NONE};
    unsigned char proto = number_after(line, "proto", RTPROT_STATIC);
    if (is_new)
        begin(where, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_EXCL, &header, sizeof header);
    else
        begin(where, RTM_DELNEIGH, 0, &header, sizeof header);
    attribute(NDA_DST, ip.bytes, ip.length);
    if (is_new) {
        mac_attribute(NDA_LLADDR, required(line, "mac"));
        attribute(NDA_PROTOCOL, &proto, sizeof proto);
    }
    end();
}

static void ip_attribute(int type, const char *text)
{
    struct ip ip = parse_ip(text);
    attribute(type, ip.bytes, ip.length);
}

static void route(int where, const struct words *line, bool is_new)
{
    struct ip dst = parse_ip(line->word[3]);
    const char *via = after(line, "via"), *src = after(line, "src"), *metric = after(line, "metric");
    struct rtmsg header = {
        .rtm_family = dst.family,
        .rtm_dst_len = dst.prefix,
        .rtm_protocol = number_after(line, "proto", RTPROT_STATIC),
        .rtm_type = RTN_UNICAST,
        .rtm_flags = has(line, "onlink") ? RTNH_F_ONLINK : 0,
    };
    if (dst.family == AF_INET)
        header.rtm_scope = !is_new ? RT_SCOPE_NOWHERE : via ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK;
    if (is_new)
        begin(where, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &header, sizeof header);
    else
        begin(where, RTM_DELROUTE, 0, &header, sizeof header);
    attribute(RTA_DST, dst.bytes, dst.length);
    number_attribute(RTA_TABLE, number_after(line, "table", RT_TABLE_MAIN));
    number_attribute(RTA_OIF, number(required(line, "dev")));
    if (via)
        ip_attribute(RTA_GATEWAY, via);
    if (src)
        ip_attribute(RTA_PREFSRC, src);
    if (metric)
        number_attribute(RTA_PRIORITY, number(metric));
    end();
}

static void rule(int where, const struct words *line, bool is_new)
{
    struct ip from = parse_ip(line->word[3]);
    struct fib_rule_hdr header = {
        .family = from.family, .src_len = from.prefix, .action = FR_ACT_TO_TBL, .table = RT_TABLE_UNSPEC};
    unsigned char proto = number_after(line, "proto", RTPROT_STATIC);
    if (is_new)
        begin(where, RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, &header, sizeof header);
    else
        begin(where, RTM_DELRULE, 0, &header, sizeof header);
    attribute(FRA_SRC, from.bytes, from.length);
    number_attribute(FRA_PRIORITY, number(required(line, "priority")));
    number_attribute(FRA_TABLE, number(required(line, "table")));
    attribute(FRA_PROTOCOL, &proto, sizeof proto);
    end();
}

/* What no message can set. */
static void setting(int where, const struct words *line)
{
    static const char below[] = "ipv6/conf/";
    if (line->count != 5 || strncmp(line->word[3], below, strlen(below)))
        die("not a file of a link below %s and its value", below);
    if (message_count == MAX_MESSAGES)
        die("more than %d messages in one run", MAX_MESSAGES);
    struct message *message = &messages[message_count++];
    message->where = where;
    message->header = NULL;
    snprintf(message->file, sizeof message->file, "%s", line->word[3] + strlen(below));
    snprintf(message->value, sizeof message->value, "%s", line->word[4]);
}

static void encode(const struct words *line)
{
    if (line->count < 4)
        die("a line of %d words", line->count);
    bool is_new = says(line, 0, "add");
    int where = says(line, 1, "host") ? HOST : POD;
    if (is_new && says(line, 2, "pair"))
        pair(where, line);
    else if (is_new && says(line, 2, "macvlan"))
        macvlan(where, line);
    else if (is_new && says(line, 2, "set"))
        set(where, line);
    else if (is_new && says(line, 2, "sysctl"))
        setting(where, line);
    else if (is_new && says(line, 2, "address"))
        address(where, line);
    else if (says(line, 2, "neigh"))
        neighbour(where, line, is_new);
    else if (!is_new && says(line, 2, "link"))
        delete_link(where, line);
    else if (says(line, 2, "route"))
        route(where, line, is_new);
    else if (says(line, 2, "rule"))
        rule(where, line, is_new);
    else
        die("nobody can %s %s", line->word[0], line->word[2]);
}

/* Sending */

static int open_socket(void)
{
    int opened = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (opened < 0)
        die("socket: %s", strerror(errno));
    return opened;
}

static void enter(int netns)
{
    if (setns(netns, CLONE_NEWNET))
        die("setns: %s", strerror(errno));
}

static int open_netns(const char *path)
{
    int opened = open(path, O_RDONLY | O_CLOEXEC);
    if (opened < 0)
        die("%s: %s", path, strerror(errno));
    return opened;
}

static const struct message *of_sequence(int first, int count, uint32_t wanted)
{
    for (int each = first; each < first + count; each++)
        if (messages[each].header->nlmsg_seq == wanted)
            return &messages[each];
    return NULL;
}

/* Reads until the last of `count` messages is acknowledged; any refusal on the way ends the program. */
static void wait_for_acknowledgement(int netlink, int first, int count)
{
    static char answer[64 << 10] __attribute__((aligned(NLMSG_ALIGNTO)));
    uint32_t last = messages[first + count - 1].header->nlmsg_seq;
    for (;;) {
        int size = recv(netlink, answer, sizeof answer, 0);
        if (size < 0)
            die("recv: %s", strerror(errno));
        struct nlmsghdr *each = (void *)answer;
        for (; NLMSG_OK(each, (unsigned)size); each = NLMSG_NEXT(each, size)) {
            const struct message *about = of_sequence(first, count, each->nlmsg_seq);
            if (each->nlmsg_type != NLMSG_ERROR || !about)
                continue;
            int refusal = ((struct nlmsgerr *)NLMSG_DATA(each))->error;
            if (refusal)
                die("%s: %s", about->text, strerror(-refusal));
            if (each->nlmsg_seq == last)
                return;
        }
    }
}

/* One datagram: `count` messages of one namespace, which lie behind one another. */
static long long send_together(int netlink, int first, int count)
{
    struct nlmsghdr *start = messages[first].header, *last = messages[first + count - 1].header;
    size_t size = (char *)last + NLMSG_ALIGN(last->nlmsg_len) - (char *)start;
    long long began = now();
    last->nlmsg_flags |= NLM_F_ACK;
    if (send(netlink, start, size, 0) != (ssize_t)size)
        die("send: %s", strerror(errno));
    wait_for_acknowledgement(netlink, first, count);
    return now() - began;
}

/* How many messages from `first` can share a datagram. */
static int together(int first)
{
    int count = 1;
    char *start = (char *)messages[first].header;
    while (first + count < message_count && messages[first + count].where == messages[first].where) {
        struct nlmsghdr *next = messages[first + count].header;
        if (!next || (char *)next + next->nlmsg_len - start > MAX_DATAGRAM)
            break;
        count++;
    }
    return count;
}

/* One file of the namespace whose directory of links' settings is `directory`. */
static long long write_file(int directory, const struct message *message)
{
    long long began = now();
    int file = openat(directory, message->file, O_WRONLY | O_CLOEXEC);
    size_t size = strlen(message->value);
    if (file < 0 || write(file, message->value, size) != (ssize_t)size)
        die("%s: %s", message->text, strerror(errno));
    close(file);
    return now() - began;
}

static int open_settings(void)
{
    int opened = open("/proc/sys/net/ipv6/conf", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (opened < 0)
        die("/proc/sys/net/ipv6/conf: %s", strerror(errno));
    return opened;
}

static bool writes_files(int where)
{
    for (int each = 0; each < message_count; each++)
        if (messages[each].where == where && !messages[each].header)
            return true;
    return false;
}

/* In one of the two namespaces: its socket, and its settings where a file of it is to be written. */
struct place {
    int netlink, settings;
};

static struct place in_pod(int own_netns, int pod_netns)
{
    enter(pod_netns);
    struct place place = {open_socket(), writes_files(POD) ? open_settings() : -1};
    enter(own_netns);
    return place;
}

static void leave(struct place place)
{
    close(place.netlink);
    if (place.settings >= 0)
        close(place.settings);
}

static void run(int own_netns, struct place *host)
{
    long long kernel = 0, began = now();
    int pod_netns = open_netns(netns_path);
    if (host->settings < 0 && writes_files(HOST))
        host->settings = open_settings();
    struct place places[NAMESPACES] = {[HOST] = *host, [POD] = in_pod(own_netns, pod_netns)};
    if (netns_slot)
        *netns_slot = pod_netns;
    for (int first = 0, count; first < message_count; first += count) {
        struct place place = places[messages[first].where];
        count = messages[first].header ? together(first) : 1;
        kernel += messages[first].header ? send_together(place.netlink, first, count)
                                         : write_file(place.settings, &messages[first]);
    }
    printf("%lld %lld %lld %d\n", began, now(), kernel, message_count);
    leave(places[POD]);
    close(pod_netns);
    fflush(stdout);
    message_count = 0;
    byte_count = 0;
    netns_slot = NULL;
}

int main(void)
{
    static char line[512], input[64 << 10];
    int own_netns = open_netns("/proc/self/ns/net");
    struct place host = {open_socket(), -1};
    setvbuf(stdin, input, _IOFBF, sizeof input);
    while (fgets(line, sizeof line, stdin)) {
        char text[sizeof messages->text];
        line[strcspn(line, "\n")] = 0;
        memcpy(text, line, sizeof text);
        struct words words = split(line);
        if (says(&words, 0, "netns") && words.count == 2) {
            snprintf(netns_path, sizeof netns_path, "%s", words.word[1]);
        } else if (says(&words, 0, "run")) {
            run(own_netns, &host);
        } else {
            encode(&words);
            memcpy(messages[message_count - 1].text, text, sizeof text - 1);
        }
    }
    return 0;
}
