/* argv, environ, auxv and the exe link: as the process and as others see them. */
#include "../guest.h"
#include <sys/auxv.h>
static char *slurp(const char *path, size_t *len)
{
	char *p = calloc(1, 1 << 16);
	int fd = OK(open(path, O_RDONLY | O_CLOEXEC));
	*len = 0;
	for (ssize_t n; (n = read(fd, p + *len, (1 << 16) - *len - 1)) > 0;)
		*len += n;
	close(fd);
	return p;
}
int main(int argc, char **argv)
{
	static const char *const files[] = { "/proc/self/cmdline", "/proc/self/environ", "/proc/self/auxv" };
	char *before[3], exe[PATH_MAX] = "", exe2[PATH_MAX] = "";
	size_t len[3];
	setenv("SET_LATER", "yes", 1);
	for (int i = 0; i < 3; i++)
		before[i] = slurp(files[i], &len[i]);
	OK(readlink("/proc/self/exe", exe, sizeof exe - 1));
	unsigned long random = getauxval(AT_RANDOM), hwcap2 = getauxval(AT_HWCAP2);
	checkpoint();
	for (int i = 0; i < 3; i++) {
		size_t n;
		char *after = slurp(files[i], &n);
		EQ(n, len[i]);
		CHECK(!memcmp(before[i], after, n));
	}
	OK(readlink("/proc/self/exe", exe2, sizeof exe2 - 1));
	STR_EQ(exe2, exe);
	EQ(getauxval(AT_RANDOM), random);
	EQ(getauxval(AT_HWCAP2), hwcap2);
	STR_EQ(getenv("SET_LATER"), "yes");
	EQ(argc, 1);
	CHECK(strstr(argv[0], "exec_state"));
	return pass();
}
