/* Restored with another profile than the one it had. */
#include "../guest.h"

static void expect(const char *label)
{
	char text[256] = "";
	int fd = OK(open("/proc/thread-self/attr/apparmor/current", O_RDONLY | O_CLOEXEC));
	OK(read(fd, text, sizeof text - 1));
	close(fd);
	text[strcspn(text, "\n")] = 0;
	STR_EQ(text, label);
}
int main(void)
{
	OK(put("/proc/thread-self/attr/apparmor/current", "changeprofile criu-test-two"));
	expect("criu-test-two (complain)");
	checkpoint();
	expect(restored() ? "criu-test-one (enforce)" : "criu-test-two (complain)");
	return pass();
}
