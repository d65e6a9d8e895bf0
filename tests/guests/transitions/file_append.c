/* Two processes append lines to one file: all lines are there, whole, once, in the order of each. */
#include "../motion.h"
#define LINE 64
static uint64_t appended(int fd, char who)
{
	uint64_t i;
	for (i = 0; moving(); i++) {
		char line[LINE + 1];
		snprintf(line, sizeof line, "%c %020llu %040llu\n", who, (unsigned long long)i, (unsigned long long)(i * i));
		ssize_t n = write(fd, line, LINE);
		EQ(n, LINE);
		step();
		if (i % 4096 == 4095)
			usleep(1000);
	}
	return i;
}
int main(void)
{
	motion_begin();
	uint64_t *total = map(PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int fd = OK(open("log", O_RDWR | O_APPEND | O_CREAT, 0600));
	int other = OK(open("log", O_WRONLY | O_APPEND));
	pid_t kid = CHILD(total[1] = appended(other, 'b'));
	in_motion();
	total[0] = appended(fd, 'a');
	reap_ok(kid);
	uint64_t next[2] = { 0, 0 };
	FILE *f = fopen("log", "r");
	CHECK(f);
	char line[256], wanted[LINE + 1];
	while (fgets(line, sizeof line, f)) {
		int who = line[0] - 'a';
		if (who != 0 && who != 1)
			FAIL("a line that nobody wrote: %s", line);
		snprintf(wanted, sizeof wanted, "%c %020llu %040llu\n", 'a' + who, (unsigned long long)next[who],
			 (unsigned long long)(next[who] * next[who]));
		STR_EQ(line, wanted);
		next[who]++;
	}
	fclose(f);
	EQ(next[0], total[0]);
	EQ(next[1], total[1]);
	return pass();
}
