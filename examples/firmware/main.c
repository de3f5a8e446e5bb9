/* Firmware: classifies three patterns, prints class, exit and instructions, and ends. */
#include "board.h"
#include "network.h"

static uint8_t pixels[NETWORK_HEIGHT * NETWORK_WIDTH * NETWORK_CHANNELS];

static void print_number(uint64_t value)
{
    char text[21];
    char *place = text + 20;
    *place = '\0';
    do {
        *--place = (char)('0' + (int)(value % 10u));
        value /= 10u;
    } while (value != 0u);
    board_print(place);
}

int main(void)
{
    for (uint32_t pattern = 1; pattern <= 3; pattern++) {
        network_result result;
        uint64_t start;
        for (uint32_t i = 0; i < sizeof pixels; i++) {
            pixels[i] = (uint8_t)(i * i * pattern >> 3);
        }
        start = board_instructions();
        (void)network_run(pixels, &result);
        start = board_instructions() - start;
        board_print("class ");
        print_number((uint64_t)result.class_index);
        board_print(" at exit ");
        print_number((uint64_t)result.exit);
        board_print(", instructions ");
        print_number(start);
        board_print("\n");
    }
    return 0;
}
