/* Segments of its own (modify_ldt). */
#include "../guest.h"
#include <asm/ldt.h>
int main(void)
{
	struct user_desc d = { .entry_number = 0, .base_addr = 0x1000, .limit = 0xff, .seg_32bit = 1, .useable = 1 };
	if (syscall(SYS_modify_ldt, 1, &d, sizeof d))
		SKIP("the kernel has no modify_ldt");
	checkpoint();
	char text[8];
	EQ(syscall(SYS_modify_ldt, 0, text, sizeof text), 8);
	return pass();
}
