typedef struct {
    int32_t height, width, channels;             /* of the input */
    int32_t out_height, out_width, out_channels; /* of the output */
    int32_t kernel_height, kernel_width, stride_y, stride_x, dilation_y, dilation_x, pad_top, pad_left;
} window;
