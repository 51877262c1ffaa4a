/*
 * text.c - characters and phrases of HTTP; see text.h. Tables instead of <ctype.h>: that depends on the locale.
 */
#include "text.h"

#include <string.h>

enum { TCHAR = 1, VALUE = 2, TARGET = 4, HOST = 8 };

#define MARK (VALUE | TARGET) /* visible, but neither of a token nor of a host */
#define WORD (MARK | TCHAR)
#define NAME (WORD | HOST)
#define PART (MARK | HOST)    /* of a host: sub-delims, ports, addresses in brackets */
/* Bytes beyond ASCII may be in values (obs-text), not elsewhere. */
static const unsigned char classes[256] = {
    ['\t'] = VALUE,        [' '] = VALUE,        ['!'] = NAME,         ['"'] = MARK,         ['#'] = WORD,
    ['$' ... '\''] = NAME, ['(' ... ')'] = PART, ['*' ... '+'] = NAME, [','] = MARK,         ['-' ... '.'] = NAME,
    ['/'] = MARK,          ['0' ... '9'] = NAME, [':' ... ';'] = PART, ['<'] = MARK,         ['='] = PART,
    ['>' ... '@'] = MARK,  ['A' ... 'Z'] = NAME, ['['] = PART,         ['\\'] = MARK,        [']'] = PART,
    ['^'] = WORD,          ['_'] = NAME,         ['`'] = WORD,         ['a' ... 'z'] = NAME, ['{'] = MARK,
    ['|'] = WORD,          ['}'] = MARK,         ['~'] = NAME,         [128 ... 255] = VALUE,
};

static bool all_of(const char *text, size_t n, unsigned class)
{
    unsigned common = class;
    for (size_t i = 0; i < n; i++)
        common &= classes[(unsigned char)text[i]];
    return common != 0;
}

bool coil__http_is_token(const char *text, size_t n)
{
    return n > 0 && all_of(text, n, TCHAR);
}

bool coil__http_is_host(const char *text, size_t n)
{
    return n == 0 || all_of(text, n, HOST);
}

bool coil__http_is_value(const char *text, size_t n)
{
    return n == 0 || (!coil__http_is_blank(text[0]) && !coil__http_is_blank(text[n - 1]) && all_of(text, n, VALUE));
}

bool coil__http_is_target(const char *text, size_t n)
{
    return n > 0 && all_of(text, n, TARGET);
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

bool coil__http_same(const char *text, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (name[i] == '\0' || lower(text[i]) != lower(name[i]))
            return false;
    return name[n] == '\0';
}

bool coil__http_list_has(const char *list, size_t n, const char *element)
{
    while (n > 0) {
        const char *comma = memchr(list, ',', n);
        const char *first = list, *last = comma ? comma : list + n;
        size_t whole = (size_t)(last - list) + (comma ? 1 : 0);
        coil__http_trim(&first, &last);
        if (coil__http_same(first, (size_t)(last - first), element))
            return true;
        list += whole;
        n -= whole;
    }
    return false;
}

bool coil__http_decimal(const char *text, size_t n, uint64_t *number)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        if (text[i] < '0' || text[i] > '9' || sum > (INT64_MAX - 9) / 10)
            return false;
        sum = sum * 10 + (uint64_t)(text[i] - '0');
    }
    *number = sum;
    return n > 0;
}

bool coil__http_hexadecimal(const char *text, size_t n, uint64_t *number)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        char c = lower(text[i]);
        bool digit = c >= '0' && c <= '9';
        if (!digit && !(c >= 'a' && c <= 'f'))
            return false;
        sum = sum << 4 | (uint64_t)(digit ? c - '0' : c - 'a' + 10);
    }
    *number = sum;
    return n > 0 && n <= 15;
}

bool coil__http_expects_body(const char *method)
{
    return strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0 || strcmp(method, "PATCH") == 0;
}

const char *coil__http_reason(int status)
{
    static const struct {
        int status;
        const char *phrase;
    } reasons[] = {
        {100, "Continue"},
        {101, "Switching Protocols"},
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {203, "Non-Authoritative Information"},
        {204, "No Content"},
        {205, "Reset Content"},
        {206, "Partial Content"},
        {300, "Multiple Choices"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {303, "See Other"},
        {304, "Not Modified"},
        {307, "Temporary Redirect"},
        {308, "Permanent Redirect"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {402, "Payment Required"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {406, "Not Acceptable"},
        {407, "Proxy Authentication Required"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {410, "Gone"},
        {411, "Length Required"},
        {412, "Precondition Failed"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {416, "Range Not Satisfiable"},
        {417, "Expectation Failed"},
        {421, "Misdirected Request"},
        {422, "Unprocessable Content"},
        {426, "Upgrade Required"},
        {428, "Precondition Required"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {451, "Unavailable For Legal Reasons"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
        if (reasons[i].status == status)
            return reasons[i].phrase;
    return "";
}
