// Llama-shaped decoder layers on a processor, over weights quantised in blocks of 32.
//
// One call takes a batch of rows (one token each: decode, prefill, or both) through all layers. A row's numbers
// are computed in the same order whatever else is in the batch, so its logits do not depend on it, to the bit.
//
// Weights of 4 or 8 bits: w = d * q + m for each block, q in 4 bits (GGUF's Q4_1) or in 8 with m = -128 d (Q8_0);
// activations are quantised to 8 bits for each block of 32 of each row, and a product sums q * a in integers, exactly.
// Weights of 16 bits: bfloat16, and so are the activations that they are multiplied with.
// Keys and values are float16. Everything else is float32.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <functional>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

constexpr int LANES = 16;     // outputs of one tile, and floats of one vector
constexpr int BLOCK = 32;     // inputs that share a scale
constexpr int ROWS = 8;       // rows that share one pass over a weight tile
constexpr int QUERIES = 4;    // rows of one sequence that attend together
constexpr int TOGETHER = 8;   // query vectors that share one pass over keys and values
constexpr int CHUNK = 32;     // dimensions of a value that are summed at once

typedef float Floats __attribute__((vector_size(64)));
typedef int32_t Ints __attribute__((vector_size(64)));
typedef uint8_t Bytes __attribute__((vector_size(64)));
typedef int8_t SignedBytes __attribute__((vector_size(16)));
typedef uint16_t Shorts __attribute__((vector_size(32)));
typedef uint16_t Half;

template <typename Vector> inline Vector load(const void* from) {
    Vector vector;
    std::memcpy(&vector, from, sizeof vector);
    return vector;
}

inline void store(float* to, Floats vector) { std::memcpy(to, &vector, sizeof vector); }

inline Floats spread(float value) { return value - Floats{}; }

// ---------------------------------------------------------------- what differs between processors

inline Floats load_halves(const Half* from) {
#if defined(__AVX512F__)
    return (Floats)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)from));
#elif defined(__F16C__)
    Floats out;
    for (int i = 0; i < 2; ++i) {
        __m256 part = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)from + i));
        std::memcpy((char*)&out + 32 * i, &part, 32);
    }
    return out;
#else
    _Float16 halves[LANES];
    std::memcpy(halves, from, sizeof halves);
    Floats out;
    for (int i = 0; i < LANES; ++i) out[i] = halves[i];
    return out;
#endif
}

// a * b + c, rounded once where the processor can. Said outright: left to the compiler, it would depend on the loop.
inline Floats fused(Floats a, Floats b, Floats c) {
#if defined(__AVX512F__)
    return (Floats)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__FMA__)
    for (int i = 0; i < 2; ++i) {
        __m256 part = _mm256_fmadd_ps(load<__m256>((const char*)&a + 32 * i), load<__m256>((const char*)&b + 32 * i),
                                      load<__m256>((const char*)&c + 32 * i));
        std::memcpy((char*)&c + 32 * i, &part, sizeof part);
    }
    return c;
#else
    return a * b + c;
#endif
}

inline void store_halves(Half* to, Floats vector) {
#if defined(__AVX512F__)
    __m256i halves = _mm512_cvtps_ph((__m512)vector, _MM_FROUND_TO_NEAREST_INT);
#elif defined(__F16C__)
    __m128i halves[2];
    for (int i = 0; i < 2; ++i)
        halves[i] = _mm256_cvtps_ph(load<__m256>((const char*)&vector + 32 * i), _MM_FROUND_TO_NEAREST_INT);
#else
    _Float16 halves[LANES];
    for (int i = 0; i < LANES; ++i) halves[i] = (_Float16)vector[i];
#endif
    std::memcpy(to, &halves, LANES * sizeof(Half));
}

inline Half to_half(float value) {
#if defined(__F16C__)
    return (Half)_cvtss_sh(value, _MM_FROUND_TO_NEAREST_INT);
#else
    _Float16 half = (_Float16)value;
    Half bits;
    std::memcpy(&bits, &half, sizeof bits);
    return bits;
#endif
}

inline float from_half(Half bits) {
#if defined(__F16C__)
    return _cvtsh_ss(bits);
#else
    _Float16 half;
    std::memcpy(&half, &bits, sizeof half);
    return half;
#endif
}

#if defined(__AVX2__)
// Four products of bytes for each of 8 sums. `weights` are unsigned, of so many bits.
template <int BITS> inline __m256i add_products_of_half(__m256i sums, __m256i weights, __m256i inputs) {
#if defined(__AVX512VNNI__) && defined(__AVX512VL__)
    return _mm256_dpbusd_epi32(sums, weights, inputs);
#elif defined(__AVXVNNI__)
    return _mm256_dpbusd_avx_epi32(sums, weights, inputs);
#else
    const __m256i ones = _mm256_set1_epi16(1);
    // Two products of 4 bits and 7 fit into 16 bits, of 8 and 7 they do not: there the high bit goes apart.
    if (BITS == 4) return _mm256_add_epi32(sums, _mm256_madd_epi16(_mm256_maddubs_epi16(weights, inputs), ones));
    const __m256i low_bits = _mm256_set1_epi8(0x7F);
    __m256i low = _mm256_maddubs_epi16(_mm256_and_si256(weights, low_bits), inputs);
    __m256i high = _mm256_and_si256(_mm256_srli_epi16(weights, 7), _mm256_set1_epi8(1));
    sums = _mm256_add_epi32(sums, _mm256_madd_epi16(low, ones));
    return _mm256_add_epi32(sums, _mm256_madd_epi16(_mm256_maddubs_epi16(high, inputs), _mm256_set1_epi16(128)));
#endif
}
#endif

// sums[i] += weights[4 i] * four[0] + ... + weights[4 i + 3] * four[3]; weights are unsigned bytes of BITS bits, the
// four are signed bytes.
template <int BITS> inline Ints add_products(Ints sums, Bytes weights, int32_t four) {
#if defined(__AVX512VNNI__)
    return (Ints)_mm512_dpbusd_epi32((__m512i)sums, (__m512i)weights, _mm512_set1_epi32(four));
#elif defined(__AVX2__)
    __m256i sum[2], weight[2], inputs = _mm256_set1_epi32(four);
    std::memcpy(sum, &sums, sizeof sum);
    std::memcpy(weight, &weights, sizeof weight);
    for (int i = 0; i < 2; ++i) sum[i] = add_products_of_half<BITS>(sum[i], weight[i], inputs);
    return load<Ints>(sum);
#else
    int8_t inputs[4];
    std::memcpy(inputs, &four, 4);
    for (int i = 0; i < LANES; ++i)
        for (int k = 0; k < 4; ++k) sums[i] += weights[4 * i + k] * inputs[k];
    return sums;
#endif
}

// sums[i] += weights[2 i] * pair[0] + weights[2 i + 1] * pair[1], all bfloat16.
inline Floats add_pair_products(Floats sums, Ints weights, int32_t pair) {
#if defined(__AVX512BF16__)
    return (Floats)_mm512_dpbf16_ps((__m512)sums, (__m512bh)weights, (__m512bh)_mm512_set1_epi32(pair));
#else
    Ints inputs = pair - Ints{}, high = inputs & (int32_t)0xFFFF0000;
    sums = fused((Floats)(weights << 16), (Floats)(inputs << 16), sums);
    return fused((Floats)(weights & (int32_t)0xFFFF0000), (Floats)high, sums);
#endif
}

inline void relax() {
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

// ---------------------------------------------------------------- small functions of vectors

inline float sum(Floats vector) {
    float total = 0;
    for (int i = 0; i < LANES; ++i) total += vector[i];
    return total;
}

template <typename Vector> inline Vector largest(Vector a, Vector b) { return a > b ? a : b; }

inline float largest(Floats vector) {
    float most = vector[0];
    for (int i = 1; i < LANES; ++i) most = std::max(most, vector[i]);
    return most;
}

// Of positive floats, by their bits, so that one that is not a number is the largest.
inline float largest_magnitude(Floats vector) {
    Ints bits = (Ints)vector;
    int32_t most = bits[0];
    for (int i = 1; i < LANES; ++i) most = std::max(most, bits[i]);
    float value;
    std::memcpy(&value, &most, sizeof value);
    return value;
}

// Rounds to bfloat16, ties to even, into the low halves. Nothing here is NaN but where the model is broken.
inline Ints to_bfloat16(Floats x) {
    Ints bits = (Ints)x;
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16) & 0xFFFF;
}

// Rounds to the nearest integer, ties to even, for |x| < 2^22.
inline Ints nearest(Floats x) {
    const Floats magic = spread(12582912.0f);
    return (Ints)(x + magic) - (Ints)magic;
}

// e^x to about 2 units in the last place, as Cephes has it; x is cut off at -87 and 88.
inline Floats exponential(Floats x) {
    x = x < -87.0f ? spread(-87.0f) : x;
    x = x > 88.0f ? spread(88.0f) : x;
    Ints power = nearest(x * 1.44269504f);
    Floats count = __builtin_convertvector(power, Floats);
    Floats rest = x - count * 0.693359375f + count * 2.12194440e-4f;
    Floats series = rest * 1.9875691500e-4f + 1.3981999507e-3f;
    series = series * rest + 8.3334519073e-3f;
    series = series * rest + 4.1665795894e-2f;
    series = series * rest + 1.6666665459e-1f;
    series = series * rest + 5.0000001201e-1f;
    series = series * rest * rest + rest + 1.0f;
    return series * (Floats)((power + 127) << 23);
}

// ---------------------------------------------------------------- threads that stay together

// Threads that work through the stages of one call at a time; the caller's thread is one of them.
//
// A stage is over when its items are done, not when all threads have been there: where another process has the core
// of one, the others go on, and it finds the stages that it missed empty.
class Team {
public:
    // What one thread knows of a call.
    class Member {
    public:
        Member(Team& team, int number) : number(number), team_(team) {}

        // Calls work(i) for each i below `count`, on whichever threads are free; returns when all are done.
        template <typename Work> void share(int count, int grain, Work work) {
            Stage& stage = team_.stages_[stage_++];
            for (int at; (at = stage.next.fetch_add(grain, std::memory_order_relaxed)) < count;) {
                int end = std::min(at + grain, count);
                for (int i = at; i < end; ++i) work(i);
                stage.done.fetch_add(end - at, std::memory_order_acq_rel);
            }
            // By spinning, for a stage takes microseconds. After some 50 somebody else has the core that we wait for.
            for (int spins = 0; stage.done.load(std::memory_order_acquire) < count; ++spins)
                spins < 1000 ? relax() : std::this_thread::yield();
        }

        const int number;

    private:
        Team& team_;
        int stage_ = 0;
    };

    // Has fewer threads where the system gives no more.
    explicit Team(int threads) {
        for (; threads_ < threads; ++threads_) try {
                std::thread([this, number = threads_] { follow(number); }).detach();
            } catch (const std::system_error&) {
                break;
            }
    }

    int threads() const { return threads_; }

    // Takes whoever is free through work, which has at most `stages` of them.
    void run(int stages, const std::function<void(Member&)>& work) {
        {
            std::lock_guard<std::mutex> lock(mutex_);
            stages_ = std::vector<Stage>(stages);
            work_ = &work;
            ++call_;
        }
        called_.notify_all();
        Member member(*this, 0);
        work(member);
        std::unique_lock<std::mutex> lock(mutex_);
        // Who has not come by now need not; who is still on the way through stages that are over is waited for.
        work_ = nullptr;
        left_.wait(lock, [&] { return inside_ == 0; });
    }

private:
    struct alignas(64) Stage {
        std::atomic<int> next{0}, done{0};
    };

    void follow(int number) {
        std::unique_lock<std::mutex> lock(mutex_);
        for (int64_t seen = 0;;) {
            called_.wait(lock, [&] { return work_ && call_ != seen; });
            seen = call_;
            const auto& work = *work_;
            ++inside_;
            lock.unlock();
            Member member(*this, number);
            work(member);
            lock.lock();
            if (--inside_ == 0) left_.notify_one();
        }
    }

    int threads_ = 1;
    std::mutex mutex_;
    std::condition_variable called_, left_;
    std::vector<Stage> stages_;
    const std::function<void(Member&)>* work_ = nullptr;
    int64_t call_ = 0;
    int inside_ = 0;
};

// ---------------------------------------------------------------- quantised matrices

// Tiles of 16 outputs, each a run of blocks. Of 4 and 8 bits: bytes of q, then 16 d, then 16 m (float16); in the
// bytes of q, input k of output i stands at [k / 4][i][k % 4]; with 4 bits, the second half of the inputs are the high
// nibbles. Of 16 bits: input k of output i at [k / 2][i][k % 2].
struct Matrix {
    const uint8_t* tiles;
    const float* bias;
    int32_t inputs, outputs, bits;
};

constexpr int quant_bytes(int bits) { return LANES * BLOCK * bits / 8; }
constexpr int block_bytes(int bits) { return quant_bytes(bits) + (bits < 16 ? 2 * LANES * (int)sizeof(Half) : 0); }
inline int tile_count(const Matrix& matrix) { return (matrix.outputs + LANES - 1) / LANES; }

// Rows of activations, for weights of 16 bits in bfloat16, else in 8 bits: for each block a scale, and
// scale * (sum of the block) for the weights' m.
struct Activations {
    Activations(int rows, int inputs, int weight_bits)
        : inputs(inputs), blocks(inputs / BLOCK), bytes(weight_bits == 16 ? 2 : 1),
          values(rows * (size_t)inputs * bytes), scales(rows * (size_t)blocks), sums(rows * (size_t)blocks) {}

    void set(int row, const float* from) {
        for (int block = 0; block < blocks; ++block) {
            Floats a = load<Floats>(from + BLOCK * block), b = load<Floats>(from + BLOCK * block + LANES);
            int8_t* to = &values[(row * (size_t)inputs + BLOCK * block) * bytes];
            bytes == 2 ? set_bfloat16(a, b, to) : set_quantised(a, b, to, row * (size_t)blocks + block);
        }
    }

    const int inputs, blocks, bytes;
    std::vector<int8_t> values;
    std::vector<float> scales, sums;

private:
    void set_bfloat16(Floats a, Floats b, int8_t* to) {
        Shorts shorts[2] = {__builtin_convertvector(to_bfloat16(a), Shorts), __builtin_convertvector(to_bfloat16(b), Shorts)};
        std::memcpy(to, shorts, sizeof shorts);
    }

    void set_quantised(Floats a, Floats b, int8_t* to, size_t at) {
        // Compared as integers: what is not a number is the largest then, and makes the product not a number.
        const int32_t magnitude = 0x7FFFFFFF;
        Floats most_of_both = (Floats)largest((Ints)a & magnitude, (Ints)b & magnitude);
        float most = largest_magnitude(most_of_both);
        float inverse = most > 0 ? 127.0f / most : 0.0f;
        Ints low = nearest(a * inverse), high = nearest(b * inverse);
        SignedBytes quants[2] = {__builtin_convertvector(low, SignedBytes), __builtin_convertvector(high, SignedBytes)};
        std::memcpy(to, quants, sizeof quants);
        scales[at] = most / 127.0f;
        // A sum of integers below 2^24: exact.
        sums[at] = scales[at] * sum(__builtin_convertvector(low + high, Floats));
    }
};

template <int BITS> inline void unpack(const uint8_t* from, Bytes (&groups)[BLOCK / 4]) {
    for (int j = 0; j < BITS; ++j) {
        groups[j] = load<Bytes>(from + 64 * j);
        if (BITS == 4) {
            groups[j + 4] = groups[j] >> 4;
            groups[j] &= 15;
        }
    }
}

// The products of one tile with R rows.
template <int BITS, int R> void multiply(const uint8_t* tile, const Activations& rows, int first, Floats* products) {
    Floats totals[R] = {};
    const size_t row_bytes = rows.inputs * (size_t)rows.bytes, blocks = rows.blocks;
    const int8_t* values = &rows.values[first * row_bytes];
    const float *scales = &rows.scales[first * blocks], *sums = &rows.sums[first * blocks];
    for (size_t block = 0; block < blocks; ++block, tile += block_bytes(BITS), values += BLOCK * rows.bytes) {
        // With one row the processor's own prefetching keeps up; with more the products hold it back.
        if (R > 1)
            for (int at = 0; at < block_bytes(BITS); at += 64) __builtin_prefetch(tile + 6 * block_bytes(BITS) + at);
        if constexpr (BITS == 16) {
            for (int r = 0; r < R; ++r) {
                // Two sums: each addition waits for the one before.
                Floats even = {}, odd = {};
                for (int j = 0; j < BLOCK / 2; j += 2) {
                    const int8_t* pairs = values + r * row_bytes + 4 * j;
                    even = add_pair_products(even, load<Ints>(tile + 64 * j), load<int32_t>(pairs));
                    odd = add_pair_products(odd, load<Ints>(tile + 64 * j + 64), load<int32_t>(pairs + 4));
                }
                totals[r] += even + odd;
            }
        } else {
            Bytes groups[BLOCK / 4];
            unpack<BITS>(tile, groups);
            const Half* factors = (const Half*)(tile + quant_bytes(BITS));
            Floats d = load_halves(factors), m = load_halves(factors + LANES);
            for (int r = 0; r < R; ++r) {
                Ints dot = {};
                for (int j = 0; j < BLOCK / 4; ++j)
                    dot = add_products<BITS>(dot, groups[j], load<int32_t>(values + r * row_bytes + 4 * j));
                Floats product = __builtin_convertvector(dot, Floats) * scales[r * blocks + block];
                totals[r] = fused(product, d, fused(m, spread(sums[r * blocks + block]), totals[r]));
            }
        }
    }
    for (int r = 0; r < R; ++r) products[r] = totals[r];
}

template <int BITS> void multiply_up_to(int count, const uint8_t* tile, const Activations& rows, int first, Floats* to) {
    switch (count) {
        case 1: return multiply<BITS, 1>(tile, rows, first, to);
        case 2: return multiply<BITS, 2>(tile, rows, first, to);
        case 3: return multiply<BITS, 3>(tile, rows, first, to);
        case 4: return multiply<BITS, 4>(tile, rows, first, to);
        case 5: return multiply<BITS, 5>(tile, rows, first, to);
        case 6: return multiply<BITS, 6>(tile, rows, first, to);
        case 7: return multiply<BITS, 7>(tile, rows, first, to);
        default: return multiply<BITS, 8>(tile, rows, first, to);
    }
}

// products[r] of tile `tile` with rows first, first + 1, ..., at most ROWS of them.
void multiply_tile(const Matrix& matrix, int tile, const Activations& rows, int first, int count, Floats* products) {
    const uint8_t* from = matrix.tiles + tile * (size_t)rows.blocks * block_bytes(matrix.bits);
    switch (matrix.bits) {
        case 4: multiply_up_to<4>(count, from, rows, first, products); break;
        case 8: multiply_up_to<8>(count, from, rows, first, products); break;
        default: multiply_up_to<16>(count, from, rows, first, products);
    }
    if (!matrix.bias) return;
    for (int r = 0; r < count; ++r) products[r] += load<Floats>(matrix.bias + LANES * tile);
}

// ---------------------------------------------------------------- attention

// Keys lie in groups of 16 positions, [position / 16][dimension][position % 16]; values as [position][dimension].
struct Cache {
    Half *keys, *values;
};

// scores[n][p] = scale * queries[n] . keys[p] for all positions of `groups` groups.
template <int N> void score(const Half* keys, int groups, int head_dim, const float* const* queries, float scale, float* const* scores) {
    for (int group = 0; group < groups; ++group) {
        Floats totals[N] = {};
        for (int i = 0; i < head_dim; ++i, keys += LANES) {
            Floats key = load_halves(keys);
            for (int n = 0; n < N; ++n) totals[n] = fused(key, spread(queries[n][i]), totals[n]);
        }
        for (int n = 0; n < N; ++n) store(scores[n] + LANES * group, totals[n] * scale);
    }
}

// out[n] = sum over positions of weights[n][p] * values[p].
template <int N> void mix(const Half* values, int positions, int head_dim, const float* const* weights, float* const* out) {
    for (int at = 0; at < head_dim; at += CHUNK) {
        Floats low[N] = {}, high[N] = {};
        const Half* value = values + at;
        for (int position = 0; position < positions; ++position, value += head_dim) {
            Floats a = load_halves(value), b = load_halves(value + LANES);
            for (int n = 0; n < N; ++n) {
                Floats weight = spread(weights[n][position]);
                low[n] = fused(a, weight, low[n]);
                high[n] = fused(b, weight, high[n]);
            }
        }
        for (int n = 0; n < N; ++n) {
            store(out[n] + at, low[n]);
            store(out[n] + at + LANES, high[n]);
        }
    }
}

// Softmax over the first `length` of `groups` groups of 16 scores; those after it become 0.
void softmax(float* scores, int length, int groups) {
    for (int i = length; i < LANES * groups; ++i) scores[i] = -INFINITY;
    Floats most = load<Floats>(scores);
    for (int group = 1; group < groups; ++group) most = largest(most, load<Floats>(scores + LANES * group));
    float top = largest(most);
    Floats total = {};
    for (int group = 0; group < groups; ++group) {
        Floats weights = exponential(load<Floats>(scores + LANES * group) - top);
        for (int i = length - LANES * group; i < LANES; ++i)
            if (i >= 0) weights[i] = 0;
        store(scores + LANES * group, weights);
        total += weights;
    }
    float inverse = 1.0f / sum(total);
    for (int group = 0; group < groups; ++group)
        store(scores + LANES * group, load<Floats>(scores + LANES * group) * inverse);
}

// One query vector: a head of a row. It sees the first `length` positions.
struct Query {
    const float* from;
    float* to;
    int length;
};

template <int N> void attend(const Cache& cache, int head_dim, float scale, const Query* queries, float* scratch) {
    int length = 0;
    for (int n = 0; n < N; ++n) length = std::max(length, queries[n].length);
    int groups = (length + LANES - 1) / LANES;
    const float* from[N];
    float *to[N], *scores[N];
    for (int n = 0; n < N; ++n) {
        from[n] = queries[n].from;
        to[n] = queries[n].to;
        scores[n] = scratch + n * groups * LANES;
    }
    score<N>(cache.keys, groups, head_dim, from, scale, scores);
    for (int n = 0; n < N; ++n) softmax(scores[n], queries[n].length, groups);
    mix<N>(cache.values, length, head_dim, scores, to);
}

// `scratch` has room for TOGETHER times as many floats as there are positions, rounded up to a group.
void attend_all(const Cache& cache, int head_dim, float scale, const Query* queries, int count, float* scratch) {
    for (; count >= 8; count -= 8, queries += 8) attend<8>(cache, head_dim, scale, queries, scratch);
    for (; count >= 6; count -= 6, queries += 6) attend<6>(cache, head_dim, scale, queries, scratch);
    for (; count >= 4; count -= 4, queries += 4) attend<4>(cache, head_dim, scale, queries, scratch);
    for (; count >= 3; count -= 3, queries += 3) attend<3>(cache, head_dim, scale, queries, scratch);
    for (; count >= 1; count -= 1, queries += 1) attend<1>(cache, head_dim, scale, queries, scratch);
}

// ---------------------------------------------------------------- the model

struct Layer {
    Matrix query_key_value, output, gate_up, down;
    const float *attention_norm, *mlp_norm;
    Half *keys, *values;
};

struct Model {
    int32_t hidden, intermediate, heads, key_value_heads, head_dim, slot_length, layer_count;
    float epsilon, scale;
    // (positions, head_dim), as transformers' rotary embedding gives them.
    const float *cosines, *sines;
    const Layer* layers;
    const float* final_norm;
    Matrix head;
};

struct Row {
    int32_t slot, position;
};

// Rows of one slot at consecutive positions.
struct Run {
    int first, count;
};

void normalise(const float* from, const float* weight, int count, float epsilon, float* to) {
    Floats squares = {};
    for (int i = 0; i < count; i += LANES) squares += load<Floats>(from + i) * load<Floats>(from + i);
    float scale = 1.0f / std::sqrt(sum(squares) / (float)count + epsilon);
    for (int i = 0; i < count; i += LANES) store(to + i, load<Floats>(from + i) * scale * load<Floats>(weight + i));
}

void rotate(float* head, const float* cosine, const float* sine, int head_dim) {
    int half = head_dim / 2;
    for (int i = 0; i < half; ++i) {
        float a = head[i], b = head[half + i];
        head[i] = a * cosine[i] - b * sine[i];
        head[half + i] = b * cosine[half + i] + a * sine[half + i];
    }
}

// One forward pass: what its threads share. All memory is taken here, before they start.
class Pass {
public:
    Pass(const Model& model, float* hidden, const Row* rows, int count)
        : model_(model), hidden_(hidden), rows_(rows), count_(count),
          query_width_(model.heads * model.head_dim), key_width_(model.key_value_heads * model.head_dim),
          width_(query_width_ + 2 * key_width_), projected_(count * (size_t)width_),
          attended_(count * (size_t)query_width_), activated_(count * (size_t)model.intermediate),
          narrow_(count, model.hidden, model.head.bits), queried_(count, query_width_, model.head.bits),
          wide_(count, model.intermediate, model.head.bits) {
        for (int row = 0; row < count; ++row) {
            bool goes_on = row && rows[row].slot == rows[row - 1].slot && rows[row].position == rows[row - 1].position + 1;
            if (goes_on && runs_.back().count < QUERIES) ++runs_.back().count;
            else runs_.push_back({row, 1});
            positions_ = std::max(positions_, rows[row].position + 1);
        }
    }

    // What each thread has for itself.
    struct Scratch {
        explicit Scratch(const Pass& pass)
            : normal(pass.model_.hidden), scores(TOGETHER * (size_t)(pass.positions_ + LANES)),
              queries(QUERIES * pass.model_.heads / pass.model_.key_value_heads) {}
        std::vector<float> normal, scores;
        std::vector<Query> queries;
    };

    int stages() const { return 10 * model_.layer_count + 2; }

    void run(Team::Member& team, Scratch& scratch, float* logits) {
        for (int i = 0; i < model_.layer_count; ++i) run(team, scratch, model_.layers[i]);
        if (!logits) return;
        enter(team, scratch, model_.final_norm);
        const size_t outputs = model_.head.outputs;
        product(team, model_.head, narrow_, [&](int tile, int row, Floats value) {
            int kept = std::min<int>(LANES, (int)outputs - LANES * tile);
            std::memcpy(logits + row * outputs + LANES * tile, &value, kept * sizeof(float));
        });
    }

private:
    void run(Team::Member& team, Scratch& scratch, const Layer& layer) {
        enter(team, scratch, layer.attention_norm);
        product(team, layer.query_key_value, narrow_, [&](int tile, int row, Floats value) {
            store(&projected_[row * (size_t)width_ + LANES * tile], value);
        });
        team.share(count_, 1, [&](int row) { place(layer, row); });
        int heads = model_.key_value_heads;
        team.share((int)runs_.size() * heads, 1, [&](int i) { attend_run(layer, runs_[i / heads], i % heads, scratch); });
        team.share(count_, 1, [&](int row) { queried_.set(row, &attended_[row * (size_t)query_width_]); });
        product(team, layer.output, queried_, [&](int tile, int row, Floats value) { add(tile, row, value); });

        enter(team, scratch, layer.mlp_norm);
        int tiles = model_.intermediate / LANES;
        team.share(tiles, grain(tiles), [&](int tile) { activate(layer.gate_up, tile); });
        team.share(count_, 1, [&](int row) { wide_.set(row, &activated_[row * (size_t)model_.intermediate]); });
        product(team, layer.down, wide_, [&](int tile, int row, Floats value) { add(tile, row, value); });
    }

    // Normalise what flows between the layers, for the next product.
    void enter(Team::Member& team, Scratch& scratch, const float* norm) {
        team.share(count_, 1, [&](int row) {
            normalise(hidden_ + row * (size_t)model_.hidden, norm, model_.hidden, model_.epsilon, scratch.normal.data());
            narrow_.set(row, scratch.normal.data());
        });
    }

    template <typename Take> void product(Team::Member& team, const Matrix& matrix, const Activations& rows, Take take) {
        int tiles = tile_count(matrix);
        team.share(tiles, grain(tiles), [&](int tile) {
            Floats products[ROWS];
            for (int first = 0; first < count_; first += ROWS) {
                int count = std::min(ROWS, count_ - first);
                multiply_tile(matrix, tile, rows, first, count, products);
                for (int r = 0; r < count; ++r) take(tile, first + r, products[r]);
            }
        });
    }

    // A tile of one row is a fraction of a microsecond: not worth a turn of its own.
    int grain(int tiles) const { return std::clamp(tiles / (4 * count_), 1, 32); }

    void add(int tile, int row, Floats value) {
        float* to = hidden_ + row * (size_t)model_.hidden + LANES * tile;
        store(to, load<Floats>(to) + value);
    }

    void activate(const Matrix& gate_up, int tile) {
        Floats gates[ROWS], ups[ROWS];
        for (int first = 0; first < count_; first += ROWS) {
            int count = std::min(ROWS, count_ - first);
            multiply_tile(gate_up, tile, narrow_, first, count, gates);
            multiply_tile(gate_up, tile + model_.intermediate / LANES, narrow_, first, count, ups);
            for (int r = 0; r < count; ++r)
                store(&activated_[(first + r) * (size_t)model_.intermediate + LANES * tile],
                      gates[r] / (1.0f + exponential(-gates[r])) * ups[r]);
        }
    }

    // Turn a row's queries and keys by its position, and put keys and values into the cache.
    void place(const Layer& layer, int row) {
        auto [slot, position] = rows_[row];
        int dim = model_.head_dim;
        const float *cosine = model_.cosines + position * (size_t)dim, *sine = model_.sines + position * (size_t)dim;
        float *query = &projected_[row * (size_t)width_], *key = query + query_width_, *value = key + key_width_;
        for (int head = 0; head < model_.heads; ++head) rotate(query + head * dim, cosine, sine, dim);
        for (int head = 0; head < model_.key_value_heads; ++head, key += dim, value += dim) {
            rotate(key, cosine, sine, dim);
            Cache cache = at(layer, slot, head);
            Half* keys = cache.keys + position / LANES * (size_t)(LANES * dim) + position % LANES;
            Half* values = cache.values + position * (size_t)dim;
            for (int at = 0; at < dim; at += LANES) {
                Half halves[LANES];
                store_halves(halves, load<Floats>(key + at));
                for (int i = 0; i < LANES; ++i) keys[LANES * (at + i)] = halves[i];
                store_halves(values + at, load<Floats>(value + at));
            }
        }
    }

    void attend_run(const Layer& layer, Run run, int head, Scratch& scratch) {
        int group = model_.heads / model_.key_value_heads, dim = model_.head_dim, count = 0;
        for (int row = run.first; row < run.first + run.count; ++row)
            for (int i = head * group; i < (head + 1) * group; ++i)
                scratch.queries[count++] = {&projected_[row * (size_t)width_ + i * dim],
                                            &attended_[row * (size_t)query_width_ + i * dim], rows_[row].position + 1};
        Cache cache = at(layer, rows_[run.first].slot, head);
        attend_all(cache, dim, model_.scale, scratch.queries.data(), count, scratch.scores.data());
    }

    Cache at(const Layer& layer, int slot, int head) const {
        size_t offset = (slot * (size_t)model_.key_value_heads + head) * model_.slot_length * model_.head_dim;
        return {layer.keys + offset, layer.values + offset};
    }

    const Model& model_;
    float* hidden_;
    const Row* rows_;
    const int count_, query_width_, key_width_, width_;
    int positions_ = 0;
    std::vector<float> projected_, attended_, activated_;
    Activations narrow_, queried_, wide_;
    std::vector<Run> runs_;
};

// One block of up to 16 outputs; `from` is the first output's, the next one's is `stride` floats further.
void pack_block_bfloat16(const float* from, size_t stride, int outputs, uint8_t* to) {
    std::memset(to, 0, block_bytes(16));
    for (int i = 0; i < outputs; ++i, from += stride)
        for (int half = 0; half < 2; ++half) {
            Ints shorts = to_bfloat16(load<Floats>(from + LANES * half));
            for (int k = 0; k < LANES; k += 2) {
                int32_t pair = shorts[k] | shorts[k + 1] << 16;
                std::memcpy(to + 64 * (LANES / 2 * half + k / 2) + 4 * i, &pair, sizeof pair);
            }
        }
}

void pack_block(const float* from, size_t stride, int outputs, int bits, uint8_t* to) {
    if (bits == 16) return pack_block_bfloat16(from, stride, outputs, to);
    Half *d = (Half*)(to + quant_bytes(bits)), *m = d + LANES;
    std::memset(to, 0, block_bytes(bits));
    for (int i = 0; i < outputs; ++i, from += stride) {
        Floats a = load<Floats>(from), b = load<Floats>(from + LANES);
        float high = largest(largest(a, b)), low = -largest(largest(-a, -b));
        d[i] = to_half(bits == 4 ? (high - low) / 15.0f : std::max(high, -low) / 127.0f);
        float scale = from_half(d[i]);
        m[i] = to_half(bits == 4 ? low : -128.0f * scale);
        float start = from_half(m[i]), divisor = scale > 0 ? scale : INFINITY;
        Floats steps[2] = {(a - start) / divisor, (b - start) / divisor};
        uint8_t quants[BLOCK];
        for (int half = 0; half < 2; ++half) {
            Floats most = spread((float)((1 << bits) - 1));
            Floats kept = largest(steps[half] < most ? steps[half] : most, Floats{});
            SignedBytes bytes = __builtin_convertvector(nearest(kept), SignedBytes);
            std::memcpy(quants + LANES * half, &bytes, sizeof bytes);
        }
        for (int k = 0; k < BLOCK; ++k) {
            int group = k / 4;
            if (bits == 8) to[64 * group + 4 * i + k % 4] = quants[k];
            else to[64 * (group % 4) + 4 * i + k % 4] |= (uint8_t)(quants[k] << (group < 4 ? 0 : 4));
        }
    }
}

}  // namespace

extern "C" {

// A team of threads that lives as long as the process, or null where there is no memory for it.
void* jeton_start_team(int32_t threads) try {
    return new Team(threads);
} catch (const std::exception&) {
    return nullptr;
}

// Bytes that jeton_pack writes.
int64_t jeton_packed_bytes(int32_t outputs, int32_t inputs, int32_t bits) {
    return (outputs + LANES - 1) / LANES * (int64_t)(inputs / BLOCK) * block_bytes(bits);
}

// Quantise a matrix of (outputs, inputs) floats, one row for each output. Returns 0, or 1 where there is no memory.
int32_t jeton_pack(Team* team, const float* weights, int32_t outputs, int32_t inputs, int32_t bits, uint8_t* to) try {
    int tiles = (outputs + LANES - 1) / LANES, blocks = inputs / BLOCK;
    team->run(1, [&](Team::Member& member) {
        member.share(tiles, 1, [&](int tile) {
            for (int block = 0; block < blocks; ++block)
                pack_block(weights + LANES * tile * (size_t)inputs + BLOCK * block, inputs,
                           std::min(LANES, outputs - LANES * tile), bits,
                           to + (tile * (size_t)blocks + block) * block_bytes(bits));
        });
    });
    return 0;
} catch (const std::exception&) {
    return 1;
}

// Take `count` rows through the model. `hidden` (count, hidden) holds embeddings and is overwritten; `logits`
// (count, vocabulary) may be null. Returns 0, or 1 where there is no memory for it: then nothing has been done.
int32_t jeton_forward(Team* team, const Model* model, float* hidden, const Row* rows, int32_t count, float* logits) try {
    Pass pass(*model, hidden, rows, count);
    std::vector<Pass::Scratch> scratches(team->threads(), Pass::Scratch(pass));
    team->run(pass.stages(), [&](Team::Member& member) { pass.run(member, scratches[member.number], logits); });
    return 0;
} catch (const std::exception&) {
    return 1;
}
}
