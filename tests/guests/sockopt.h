/* Tables of socket options: set, remembered, compared. */
#include "inet.h"
struct option {
	int level, name, value;
	const char *text;
};
#define O(level, name, value) { level, name, value, #name }
/* Sets them and remembers what the kernel makes of them; one that this kernel does not know is left out. */
static inline void options_set(int fd, struct option *o, size_t n)
{
	for (; n--; o++) {
		if (setsockopt(fd, o->level, o->name, &o->value, sizeof o->value)) {
			if (errno != ENOPROTOOPT)
				FAIL("setting %s to %d: %s", o->text, o->value, strerror(errno));
			o->level = -1;
			continue;
		}
		o->value = opt(fd, o->level, o->name);
	}
}
static inline void options_check(int fd, const struct option *o, size_t n)
{
	for (; n--; o++)
		if (o->level >= 0 && opt(fd, o->level, o->name) != o->value)
			FAIL("%s is %d, expected %d", o->text, opt(fd, o->level, o->name), o->value);
}
#define SET(fd, table) options_set(fd, table, sizeof table / sizeof *table)
#define CHECK_ALL(fd, table) options_check(fd, table, sizeof table / sizeof *table)
