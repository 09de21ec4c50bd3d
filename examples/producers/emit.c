/* Hands an event to posthaste: C99 and POSIX, nothing else.
 *
 *     cc -std=c99 -Wall -Wextra -Werror -pedantic -o emit emit.c
 *
 *     emit TYPE ID < TEXT                  over the socket that POSTHASTE_SOCKET names
 *     emit -d DIRECTORY NAME TYPE ID < TEXT   as a file in a spool directory
 *
 * The event's data is {"text":TEXT}. TEXT is UTF-8. A file with the same NAME is replaced: let it be the event's own.
 *
 * - An event is taken when it is answered with its id, not before; a file when spool_event() has returned 0.
 * - Give each event an id of your own, and hand it in again, unchanged, when in doubt: it is taken once. "duplicate" in
 *   the answer says that it was known, which is as good.
 * - The code id_conflict (409 over HTTP) says that you gave this id to another event: an error of yours, like all
 *   refusals without "retry_after".
 * - "retry_after" (408, 429, 503 and 507 over HTTP) says: not now, but in so many seconds. Keep the event.
 *
 * Exit codes: 0 taken, 64 wrong usage, 65 refused for good, 71 no memory, 74 a file failed, 75 not now (run it again),
 * 77 not allowed.
 */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE 60 /* seconds after which it gives up */

/* Bytes that grow. After `failed` is set nothing is added any more: it is enough to look at it once, at the end. */
struct buffer {
    char *bytes;
    size_t length, size;
    int failed;
};

static void add(struct buffer *buffer, const char *bytes, size_t length) {
    if (buffer->failed)
        return;
    if (buffer->size - buffer->length < length) {
        size_t size = 2 * (buffer->length + length);
        char *grown = realloc(buffer->bytes, size);
        if (!grown) {
            buffer->failed = 1;
            return;
        }
        buffer->bytes = grown;
        buffer->size = size;
    }
    memcpy(buffer->bytes + buffer->length, bytes, length);
    buffer->length += length;
}

static void add_text(struct buffer *buffer, const char *text) { add(buffer, text, strlen(text)); }

/* A JSON string: quotes, backslashes and control characters are escaped, UTF-8 stands as it is. */
static void add_json(struct buffer *buffer, const char *text, size_t length) {
    size_t i;
    add(buffer, "\"", 1);
    for (i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        char escape[8];
        if (c == '"' || c == '\\') {
            add(buffer, "\\", 1);
            add(buffer, text + i, 1);
        } else if (c < 0x20 || c == 0x7f) {
            snprintf(escape, sizeof escape, "\\u%04x", c);
            add(buffer, escape, 6);
        } else {
            add(buffer, text + i, 1);
        }
    }
    add(buffer, "\"", 1);
}

/* The event as a line; whatever is in the text, the only line feed is the last byte. */
static void add_event(struct buffer *line, const char *type, const char *id, const struct buffer *text) {
    add_text(line, "{\"type\":");
    add_json(line, type, strlen(type));
    add_text(line, ",\"id\":");
    add_json(line, id, strlen(id));
    add_text(line, ",\"data\":{\"text\":");
    add_json(line, text->bytes, text->length);
    add_text(line, "}}\n");
}

/* write(2) may take a part, and may be interrupted. */
static int write_all(int fd, const char *bytes, size_t length, int is_socket) {
    while (length > 0) {
        /* MSG_NOSIGNAL: a daemon that has hung up is an error here, and no SIGPIPE that ends the program. */
        ssize_t count = is_socket ? send(fd, bytes, length, MSG_NOSIGNAL) : write(fd, bytes, length);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return -1;
        bytes += count;
        length -= (size_t)count;
    }
    return 0;
}

static int read_all(int fd, struct buffer *into) {
    char chunk[16384];
    for (;;) {
        ssize_t count = read(fd, chunk, sizeof chunk);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            return (int)count;
        add(into, chunk, (size_t)count);
    }
}

/* Sends one line and reads its answer, without the line feed. 0: answered. -1: it is not known whether it was taken. */
static int hand_in(const char *path, const struct buffer *line, char *answer, size_t size) {
    struct sockaddr_un address;
    struct timeval patience = {PATIENCE, 0};
    size_t have = 0;
    int saved, fd;

    memset(&address, 0, sizeof address);
    address.sun_family = AF_UNIX;
    if (strlen(path) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    strcpy(address.sun_path, path);
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0)
        return -1;
    /* A daemon that hangs must not hang this program. */
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        goto failed;
    /* With one event on its way writing first and reading then is no deadlock. With many it would be. A refusal may
     * come before all is written: it is read whether or not writing has succeeded. */
    (void)write_all(fd, line->bytes, line->length, 1);
    for (;;) {
        ssize_t count = read(fd, answer + have, size - have);
        char *end;
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            goto failed;
        end = memchr(answer + have, '\n', (size_t)count);
        if (end) {
            *end = '\0';
            close(fd);
            return 0;
        }
        have += (size_t)count;
        /* An answer that is cut short is none. */
        if (count == 0 || have == size) {
            errno = ECONNRESET;
            goto failed;
        }
    }
failed:
    saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

/* Writes DIRECTORY/NAME.json so that it is there whole or not at all, whenever the power fails. 0: it is there for good.
 * -1: perhaps not; do it again under the same name. */
static int spool_event(const char *directory, const char *name, const struct buffer *line) {
    size_t room = strlen(directory) + strlen(name) + 40;
    char *part = malloc(room), *file = malloc(room);
    int saved, fd = -1, folder = -1, result = -1;

    if (!part || !file)
        goto done;
    /* Under a name that begins with a dot it is not looked at. In the same directory, so that it can be renamed. */
    snprintf(part, room, "%s/.%s.%ld.part", directory, name, (long)getpid());
    snprintf(file, room, "%s/%s.json", directory, name);
    /* The group is to be the daemon's: set the directory's set-group-ID bit. Others may write in the directory, too: what
     * has this name already is not ours, and a link leads to who knows what. */
    fd = open(part, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0640);
    if (fd < 0 || write_all(fd, line->bytes, line->length, 0) != 0)
        goto done;
    /* First the bytes, then the name: else there might be a name without bytes after a power cut. */
    if (fsync(fd) != 0 || rename(part, file) != 0)
        goto done;
    folder = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0 || fsync(folder) != 0)
        goto done;
    result = 0;
done:
    saved = errno;
    if (fd >= 0) {
        close(fd);
        if (result != 0)
            unlink(part);
    }
    if (folder >= 0)
        close(folder);
    free(part);
    free(file);
    errno = saved;
    return result;
}

/* Hands in until the daemon has said its last word, or patience ends. */
static int until_settled(const char *path, const struct buffer *line) {
    char answer[16384];
    const char *again;
    time_t give_up = time(NULL) + PATIENCE;
    long pause;

    for (;;) {
        struct timespec rest = {1, 0};
        pause = 1;
        if (hand_in(path, line, answer, sizeof answer) == 0) {
            if (strncmp(answer, "{\"id\":", 6) == 0) {
                puts(answer);
                return 0;
            }
            /* With its quotes this cannot stand within a string of JSON. */
            again = strstr(answer, "\"retry_after\":");
            if (!again) {
                fprintf(stderr, "%s\n", answer);
                return strstr(answer, "_allowed\",") ? 77 : 65;
            }
            pause = strtol(again + strlen("\"retry_after\":"), NULL, 10);
        } else {
            snprintf(answer, sizeof answer, "%s: %s", path, strerror(errno));
        }
        if (pause < 1)
            pause = 1;
        if (pause > give_up - time(NULL)) {
            fprintf(stderr, "not now: %s\n", answer);
            return 75;
        }
        rest.tv_sec = pause;
        nanosleep(&rest, NULL);
    }
}

int main(int count, char **arguments) {
    int spool = count == 6 && strcmp(arguments[1], "-d") == 0, code;
    const char *path = getenv("POSTHASTE_SOCKET");
    char **event = arguments + (spool ? 4 : 1);
    struct buffer text = {NULL, 0, 0, 0}, line = {NULL, 0, 0, 0};

    if (!spool && count != 3) {
        fprintf(stderr, "usage: emit TYPE ID < TEXT\n       emit -d DIRECTORY NAME TYPE ID < TEXT\n");
        return 64;
    }
    if (read_all(STDIN_FILENO, &text) != 0) {
        perror("standard input");
        return 74;
    }
    add_event(&line, event[0], event[1], &text);
    if (text.failed || line.failed) {
        fprintf(stderr, "no memory for the event\n");
        return 71;
    }
    if (!spool) {
        code = until_settled(path ? path : "/run/posthaste/posthaste.sock", &line);
    } else if (spool_event(arguments[2], arguments[3], &line) == 0) {
        code = 0;
    } else {
        perror(arguments[2]);
        code = 74;
    }
    free(text.bytes);
    free(line.bytes);
    return code;
}
