/* For tests under Wine, never shipped: Wine before 9 has no bcryptprimitives.dll, of which Rust's standard library
 * wants this one function (https://learn.microsoft.com/windows/win32/seccng/processprng). */
#include <windows.h>

/* RtlGenRandom's name in advapi32.dll. */
BOOLEAN NTAPI SystemFunction036(PVOID, ULONG);

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE data, SIZE_T length) {
    while (length) {
        ULONG piece = length > 65536 ? 65536 : (ULONG)length;
        if (!SystemFunction036(data, piece)) return FALSE;
        data += piece;
        length -= piece;
    }
    return TRUE;
}

BOOL WINAPI DllMain(HINSTANCE instance, DWORD reason, LPVOID reserved) { return TRUE; }
