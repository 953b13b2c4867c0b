//! The corpus of hostile ONNX files, made from a seed: the same seed always gives the same files.
//!
//! Each family is one way to harm whoever parses, loads or runs a model. Beside the file goes what its manifest says of it,
//! because a manifest that is refused would hide what the model does.

use longshore_agent_core::backoff::Jitter;

use crate::onnx::{self, bytes, floats, int};
use crate::onnx::{BOOL, D, FLOAT, INT64, STRING, f32s, graph, model, node, number, tensor, text, value};

/// One hostile file.
pub struct Hostile {
    /// Family and number.
    pub name: String,
    /// The file.
    pub onnx: Vec<u8>,
    /// What its inputs and outputs are said to be.
    pub shapes: Shapes,
}

/// What a manifest says of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shapes {
    /// `x` FP32 `[N,2]`, `y` FP32 `[N,3]`.
    Small,
    /// Those of the example.
    Digits,
}

/// Seeded choices of bytes.
pub struct Chance(Jitter);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(Jitter::new(seed))
    }
    pub fn next(&mut self) -> u64 {
        self.0.next_u64()
    }
    /// Below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
    pub fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.next() as u8).collect()
    }
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

type Node = Vec<u8>;
type Init = Vec<u8>;

fn i64s(values: &[i64]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}
fn ints(name: &str, values: &[i64]) -> Vec<u8> {
    let list: Vec<u8> = values.iter().flat_map(|v| number(8, *v)).collect();
    [text(1, name), list, number(20, 7)].concat()
}
fn float(name: &str, v: f32) -> Vec<u8> {
    [text(1, name), [&[2 << 3 | 5][..], &v.to_le_bytes()].concat(), number(20, 1)].concat()
}
fn string(name: &str, v: &str) -> Vec<u8> {
    [text(1, name), bytes(4, v.as_bytes()), number(20, 3)].concat()
}
fn shape(name: &str, dims: &[i64]) -> Init {
    tensor(name, INT64, &[dims.len() as i64], &i64s(dims))
}
fn scalar(name: &str, v: f32) -> Init {
    tensor(name, FLOAT, &[], &f32s(&[v]))
}

fn io() -> ([Vec<u8>; 1], [Vec<u8>; 1]) {
    ([value("x", FLOAT, &[D::S("N"), D::N(2)])], [value("y", FLOAT, &[D::S("N"), D::N(3)])])
}
/// A model of `x` and `y`.
fn xy(nodes: &[Node], inits: &[Init]) -> Vec<u8> {
    let (x, y) = io();
    model(&graph(nodes, inits, &x, &y))
}
/// The weights that make an honest answer out of `x`.
fn weights() -> Init {
    tensor("W", FLOAT, &[2, 3], &f32s(&[1.0, 0.0, -1.0, 0.0, 2.0, 0.5]))
}
fn honest(input: &str) -> Node {
    node("MatMul", "dense", &[input, "W"], &["y"], &[])
}

/// All files of this seed.
pub fn all(seed: u64, digits: &[u8]) -> Vec<Hostile> {
    let mut chance = Chance::new(seed);
    let families: Vec<(&str, Vec<Vec<u8>>)> = vec![
        ("garbage", garbage(&mut chance)),
        ("protobuf", protobuf()),
        ("giant-dims", giant_dims()),
        ("growth", growth()),
        ("hidden-growth", hidden_growth()),
        ("run-time-growth", run_time_growth()),
        ("deep", deep()),
        ("cycle", cycles()),
        ("control-flow", control_flow()),
        ("external-data", external_data()),
        ("dtype", dtypes()),
        ("attribute", attributes()),
        ("name", names()),
        ("shape-operator", shape_operators()),
        ("quantised", quantised()),
        ("opset", opsets()),
    ];
    let mut out: Vec<Hostile> =
        families.into_iter().flat_map(|(family, files)| numbered(family, files, Shapes::Small)).collect();
    out.extend(numbered("truncated", truncated(digits, &mut chance), Shapes::Digits));
    out.extend(numbered("mutated", mutated(digits, &mut chance), Shapes::Digits));
    out
}

fn numbered(family: &str, files: Vec<Vec<u8>>, shapes: Shapes) -> impl Iterator<Item = Hostile> {
    let name = move |i| format!("{family}-{i}");
    files.into_iter().enumerate().map(move |(i, onnx)| Hostile { name: name(i), onnx, shapes })
}

fn garbage(chance: &mut Chance) -> Vec<Vec<u8>> {
    let mut out = vec![vec![0x0a], vec![0], vec![0xff; 4096], b"PK\x03\x04".to_vec(), b"GIF89a".to_vec()];
    for _ in 0..9 {
        let n = 1 + chance.below(4096);
        out.push(chance.bytes(n));
    }
    out
}

fn protobuf() -> Vec<Vec<u8>> {
    let good = onnx::classifier();
    let nested = |depth: usize| (0..depth).fold(vec![], |inner: Vec<u8>, _| bytes(7, &inner));
    vec![
        // A graph that claims to be 2^60 bytes long, one a gigabyte.
        [number(1, 8), vec![7 << 3 | 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f]].concat(),
        [number(1, 8), vec![7 << 3 | 2, 0x80, 0x80, 0x80, 0x80, 0x04]].concat(),
        // A number without an end, groups without an end, a wire type that does not exist.
        vec![0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        vec![0x0b; 200_000],
        vec![0x0e; 64],
        nested(300),
        // The same field a hundred thousand times.
        (0..100_000).flat_map(|_| text(2, "x")).collect(),
        [good.clone(), good.clone()].concat(),
        [good.clone(), bytes(7, &[])].concat(),
        // A graph attribute inside a graph attribute, five hundred times.
        {
            let (_, y) = io();
            let mut inner = graph(&[node("Relu", "r", &["x"], &["y"], &[])], &[], &[], &y);
            for _ in 0..500 {
                let branch = onnx::subgraph("body", &inner);
                inner = graph(&[node("Loop", "l", &["", ""], &["y"], &[branch])], &[], &[], &y);
            }
            model(&inner)
        },
        [text(2, &"p".repeat(1 << 20)), good].concat(),
    ]
}

fn giant_dims() -> Vec<Vec<u8>> {
    let dense = |dims: &[i64], raw: &[u8]| xy(&[honest("x")], &[tensor("W", FLOAT, dims, raw)]);
    let six = f32s(&[0.0; 6]);
    let mut out: Vec<Vec<u8>> = [
        &[i64::MAX, i64::MAX][..],
        &[1 << 32, 1 << 32],
        &[1 << 62, 4, 1],
        &[i64::MIN, 3],
        &[-2, -3],
        &[2, 3, i64::MAX, 0],
        &[1 << 40],
        &[2, 4],
        &[0, 3],
        &[],
        &[2, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
        &[1; 4096],
    ]
    .into_iter()
    .map(|dims| dense(dims, &six))
    .collect();
    out.push(dense(&[1 << 30, 3], &[]));
    // 64 MiB of weights that nothing needs.
    let idle = tensor("idle", FLOAT, &[16 << 20], &vec![0u8; 64 << 20]);
    out.push(xy(&[honest("x"), node("Identity", "i", &["idle"], &["z"], &[])], &[weights(), idle]));
    out
}

/// One node whose output a constant makes enormous.
fn growth() -> Vec<Vec<u8>> {
    let big: [&[i64]; 4] = [&[1 << 20, 1 << 20], &[1 << 33, 3], &[i64::MAX], &[1 << 15, 1 << 15, 3]];
    let mut out = Vec::new();
    for dims in big {
        for (op, inputs) in [
            ("ConstantOfShape", vec!["s"]),
            ("Expand", vec!["one", "s"]),
            ("Tile", vec!["one", "s"]),
            ("Reshape", vec!["one", "s"]),
        ] {
            let one = tensor("one", FLOAT, &vec![1; dims.len()], &f32s(&[1.0]));
            let nodes = [
                node(op, "grow", &inputs, &["z"], &[]),
                node("ReduceSum", "sum", &["z"], &["t"], &[]),
                honest("x"),
                node("Mul", "mul", &["x", "t"], &["u"], &[]),
            ];
            out.push(xy(&nodes, &[one, shape("s", dims), weights()]));
        }
    }
    let used = |n: Node, inits: &[Init]| {
        let last = node("MatMul", "use", &["x", "z"], &["y"], &[]);
        xy(&[n, last], &[inits, &[weights()]].concat())
    };
    let huge = 1i64 << 31;
    out.push(used(node("Pad", "grow", &["W", "p"], &["z"], &[]), &[shape("p", &[0, huge, 0, huge])]));
    out.push(used(node("Pad", "grow", &["W"], &["z"], &[ints("pads", &[huge, huge, huge, huge])]), &[]));
    let range = [scalar("a", 0.0), scalar("b", 1e12), scalar("c", 1e-3)];
    out.push(used(node("Range", "grow", &["a", "b", "c"], &["z"], &[]), &range));
    let never = [scalar("a", 0.0), scalar("b", 1.0), scalar("c", 0.0)];
    out.push(used(node("Range", "grow", &["a", "b", "c"], &["z"], &[]), &never));
    let sizes = [tensor("", FLOAT, &[0], &[]), shape("s", &[huge, huge])];
    out.push(used(node("Resize", "grow", &["W", "", "", "s"], &["z"], &[]), &sizes[1..]));
    let scales = tensor("k", FLOAT, &[2], &f32s(&[1e9, 1e9]));
    out.push(used(node("Resize", "grow", &["W", "", "k"], &["z"], &[]), std::slice::from_ref(&scales)));
    out.push(used(node("Upsample", "grow", &["W", "k"], &["z"], &[]), &[scales]));
    let depth = tensor("d", INT64, &[], &i64s(&[1 << 40]));
    let index = tensor("i", INT64, &[1], &i64s(&[0]));
    let on = tensor("v", FLOAT, &[2], &f32s(&[0.0, 1.0]));
    out.push(used(node("OneHot", "grow", &["i", "d", "v"], &["z"], &[]), &[index, depth, on]));
    out.push(used(node("EyeLike", "grow", &["W"], &["z"], &[int("k", i64::MAX)]), &[]));
    out
}

/// The same, with the shape computed, so that no single constant tells.
fn hidden_growth() -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    for (op, extra) in [("ConstantOfShape", None), ("Expand", Some("one")), ("Tile", Some("one"))] {
        for dims in [[1i64 << 20, 1 << 14], [1 << 16, 1 << 16]] {
            let inputs: Vec<&str> = extra.into_iter().chain(["big"]).collect();
            let nodes = [
                node("Mul", "square", &["s", "s"], &["big"], &[]),
                node(op, "grow", &inputs, &["z"], &[]),
                node("ReduceMax", "max", &["z"], &["t"], &[int("keepdims", 0)]),
                node("Add", "add", &["x", "t"], &["u"], &[]),
                honest("u"),
            ];
            let one = tensor("one", FLOAT, &[1, 1], &f32s(&[1.0]));
            out.push(xy(&nodes, &[one, shape("s", &dims), weights()]));
        }
    }
    // Forty doublings of a constant, of an input, of an axis that the request decides.
    for (start, axis) in [("W", 0), ("W", 1), ("x", 0), ("x", 1)] {
        let name = |i: usize| if i == 0 { start.to_owned() } else { format!("c{i}") };
        let mut nodes: Vec<Node> = (0..40)
            .map(|i| {
                node("Concat", &format!("d{i}"), &[&name(i), &name(i)], &[&name(i + 1)], &[int("axis", axis)])
            })
            .collect();
        nodes.push(node("ReduceMax", "max", &["c40"], &["t"], &[int("keepdims", 0)]));
        nodes.push(node("Add", "add", &["x", "t"], &["u"], &[]));
        nodes.push(honest("u"));
        out.push(xy(&nodes, &[weights()]));
    }
    // Outer products of outer products.
    let mut nodes = vec![node("Reshape", "flat", &["x", "col"], &["a0"], &[])];
    for i in 0..6 {
        let (from, sq, to) = (format!("a{i}"), format!("b{i}"), format!("a{}", i + 1));
        nodes.push(node("Transpose", &format!("t{i}"), &[&from], &[&sq], &[]));
        let (prod, flat) =
            (format!("p{i}"), node("Reshape", &format!("f{i}"), &[&format!("p{i}"), "col"], &[&to], &[]));
        nodes.push(node("MatMul", &format!("m{i}"), &[&from, &sq], &[&prod], &[]));
        nodes.push(flat);
    }
    nodes.push(node("ReduceMax", "max", &["a6"], &["t"], &[int("keepdims", 0)]));
    nodes.push(node("Add", "add", &["x", "t"], &["u"], &[]));
    nodes.push(honest("u"));
    out.push(xy(&nodes, &[shape("col", &[-1, 1]), weights()]));
    out
}

/// Harmless to load; what they ask for depends on the values of a request.
fn run_time_growth() -> Vec<Vec<u8>> {
    // The golden input holds 1e9: as a size it is a bomb.
    let first = [
        node("ReduceMax", "max", &["x"], &["m"], &[int("keepdims", 0)]),
        node("Cast", "cast", &["m"], &["n"], &[int("to", INT64)]),
        node("Reshape", "r", &["n", "vec"], &["s"], &[]),
    ];
    let rest = [
        node("ReduceMax", "back", &["z"], &["t"], &[int("keepdims", 0)]),
        node("Add", "add", &["x", "t"], &["u"], &[]),
        honest("u"),
    ];
    let one = tensor("one", FLOAT, &[1], &f32s(&[1.0]));
    let zero = tensor("zero", INT64, &[], &i64s(&[0]));
    let step = tensor("step", INT64, &[], &i64s(&[1]));
    let on = tensor("v", FLOAT, &[2], &f32s(&[0.0, 1.0]));
    let mut out = Vec::new();
    for middle in [
        vec![node("ConstantOfShape", "grow", &["s"], &["z"], &[])],
        vec![node("Expand", "grow", &["one", "s"], &["z"], &[])],
        vec![node("Tile", "grow", &["one", "s"], &["z"], &[])],
        vec![node("Reshape", "grow", &["one", "s"], &["z"], &[])],
        vec![
            node("Range", "grow", &["zero", "n", "step"], &["q"], &[]),
            node("Cast", "qf", &["q"], &["z"], &[int("to", FLOAT)]),
        ],
        vec![node("OneHot", "grow", &["zero", "n", "v"], &["z"], &[])],
        vec![node("TopK", "grow", &["one", "s"], &["z", "zi"], &[])],
        vec![node("Gather", "grow", &["one", "s"], &["z"], &[])],
        vec![node("Slice", "grow", &["one", "s", "s"], &["z"], &[])],
        vec![
            node("Pad", "grow", &["one", "ss"], &["z"], &[]),
            node("Concat", "c", &["s", "s"], &["ss"], &[int("axis", 0)]),
        ],
    ] {
        let nodes: Vec<Node> = first.iter().chain(&middle).chain(&rest).cloned().collect();
        out.push(xy(
            &nodes,
            &[one.clone(), zero.clone(), step.clone(), on.clone(), shape("vec", &[1]), weights()],
        ));
    }
    out
}

fn chain(op: &str, n: usize, attributes: &[Vec<u8>]) -> Vec<u8> {
    let name = |i: usize| if i == 0 { "x".to_owned() } else { format!("t{i}") };
    let mut nodes: Vec<Node> =
        (0..n).map(|i| node(op, &format!("n{i}"), &[&name(i)], &[&name(i + 1)], attributes)).collect();
    nodes.push(honest(&name(n)));
    xy(&nodes, &[weights()])
}

fn deep() -> Vec<Vec<u8>> {
    let doubled = |n: usize| {
        let name = |i: usize| if i == 0 { "x".to_owned() } else { format!("t{i}") };
        let mut nodes: Vec<Node> = (0..n)
            .map(|i| node("Add", &format!("n{i}"), &[&name(i), &name(i)], &[&name(i + 1)], &[]))
            .collect();
        nodes.push(honest(&name(n)));
        xy(&nodes, &[weights()])
    };
    // Written back to front: whoever follows inputs goes as deep as the graph is long.
    let backwards = |n: usize| {
        let name = |i: usize| if i == n { "x".to_owned() } else { format!("t{i}") };
        let mut nodes = vec![honest("t0")];
        nodes.extend((0..n).map(|i| node("Tanh", &format!("n{i}"), &[&name(i + 1)], &[&name(i)], &[])));
        xy(&nodes, &[weights()])
    };
    vec![
        chain("Tanh", 6_000, &[]),
        chain("Identity", 20_000, &[]),
        chain("Tanh", 49_000, &[]),
        chain("Neg", 200_000, &[]),
        doubled(64),
        doubled(5_000),
        backwards(6_000),
        backwards(49_000),
    ]
}

fn cycles() -> Vec<Vec<u8>> {
    let w = || [weights()];
    vec![
        xy(&[node("Add", "a", &["x", "b"], &["y"], &[]), node("Relu", "r", &["y"], &["b"], &[])], &w()),
        xy(&[node("Relu", "r", &["y"], &["y"], &[])], &w()),
        xy(&[node("Add", "a", &["y", "x"], &["y"], &[])], &w()),
        xy(&[node("Relu", "r", &["x"], &["x"], &[]), honest("x")], &w()),
        xy(
            &[honest("x"), node("Relu", "r", &["a"], &["b"], &[]), node("Relu", "s", &["b"], &["a"], &[])],
            &w(),
        ),
        {
            let n = 3000;
            let nodes: Vec<Node> = (0..n)
                .map(|i| {
                    node("Relu", &format!("n{i}"), &[&format!("t{i}")], &[&format!("t{}", (i + 1) % n)], &[])
                })
                .chain([node("MatMul", "dense", &["t0", "W"], &["y"], &[])])
                .collect();
            xy(&nodes, &w())
        },
        // The output is the input; the output is made twice.
        xy(&[node("Identity", "i", &["x"], &["y"], &[]), honest("x")], &w()),
        xy(&[honest("x"), honest("x")], &w()),
    ]
}

fn control_flow() -> Vec<Vec<u8>> {
    let (_, y) = io();
    let body = |nodes: &[Node], outputs: &[Vec<u8>]| {
        let inputs =
            [value("i", INT64, &[]), value("c", BOOL, &[]), value("v", FLOAT, &[D::S("N"), D::N(2)])];
        graph(nodes, &[tensor("true", BOOL, &[], &[1])], &inputs, outputs)
    };
    let carried = [value("true", BOOL, &[]), value("w", FLOAT, &[D::S("N"), D::N(2)])];
    let step = body(&[node("Add", "a", &["v", "v"], &["w"], &[])], &carried);
    let loops = |trips: &str, cond: &str, inits: &[Init], body: &[u8]| {
        let nodes =
            [node("Loop", "loop", &[trips, cond, "x"], &["z"], &[onnx::subgraph("body", body)]), honest("z")];
        xy(&nodes, &[inits, &[weights()]].concat())
    };
    let trips = |n: i64| [tensor("trips", INT64, &[], &i64s(&[n])), tensor("go", BOOL, &[], &[1])];
    let mut out: Vec<Vec<u8>> =
        [i64::MAX, -1, 1 << 40, 3].into_iter().map(|n| loops("trips", "go", &trips(n), &step)).collect();
    out.push(loops("", "", &[], &step));
    out.push(loops("", "go", &trips(0), &step));
    out.push(loops("trips", "go", &trips(5), &graph(&[], &[], &[], &[])));
    // A body that calls for the loop around it.
    let inner = onnx::subgraph("body", &step);
    out.push(loops(
        "trips",
        "go",
        &trips(1 << 30),
        &body(&[node("Loop", "in", &["trips", "go", "v"], &["w"], &[inner])], &carried),
    ));
    let branch = |name: &str, nodes: &[Node]| onnx::subgraph(name, &graph(nodes, &[], &[], &y));
    let ifs = |cond: Init, branches: &[Vec<u8>]| {
        xy(&[node("If", "if", &["c"], &["y"], branches)], &[cond, weights()])
    };
    let yes = tensor("c", BOOL, &[], &[1]);
    out.push(ifs(yes.clone(), &[branch("then_branch", &[honest("x")])]));
    out.push(ifs(yes.clone(), &[]));
    out.push(ifs(
        scalar("c", 0.5),
        &[branch("then_branch", &[honest("x")]), branch("else_branch", &[honest("x")])],
    ));
    out.push(ifs(
        tensor("c", BOOL, &[3], &[1, 0, 1]),
        &[branch("then_branch", &[honest("x")]), branch("else_branch", &[])],
    ));
    let mut nest = graph(&[honest("x")], &[], &[], &y);
    for _ in 0..60 {
        let b = [onnx::subgraph("then_branch", &nest), onnx::subgraph("else_branch", &nest)];
        // Each level doubles what is written: a few levels are megabytes.
        if nest.len() > 1 << 20 {
            break;
        }
        nest = graph(&[node("If", "if", &["c"], &["y"], &b)], &[], &[], &y);
    }
    let top = [onnx::subgraph("then_branch", &nest), onnx::subgraph("else_branch", &nest)];
    out.push(ifs(yes.clone(), &top));
    for attributes in [
        vec![int("num_scan_inputs", i64::MAX), onnx::subgraph("body", &step)],
        vec![int("num_scan_inputs", -1), onnx::subgraph("body", &step)],
        vec![int("num_scan_inputs", 0), onnx::subgraph("body", &step)],
        vec![int("num_scan_inputs", 1), ints("scan_input_axes", &[i64::MIN]), onnx::subgraph("body", &step)],
        vec![int("num_scan_inputs", 1)],
    ] {
        out.push(xy(&[node("Scan", "scan", &["x"], &["z"], &attributes), honest("z")], &[weights()]));
    }
    out
}

fn external_data() -> Vec<Vec<u8>> {
    let entry = |k: &str, v: &str| bytes(13, &[text(1, k), text(2, v)].concat());
    [
        "/etc/passwd",
        "../../../../etc/shadow",
        "/proc/self/mem",
        "/dev/zero",
        "model.onnx",
        "",
        "\0",
        "\\\\host\\share",
    ]
    .into_iter()
    .map(|path| {
        let outside = [
            tensor("W", FLOAT, &[2, 3], &[]),
            entry("location", path),
            entry("offset", "18446744073709551615"),
            entry("length", "9223372036854775807"),
            number(14, 1),
        ]
        .concat();
        xy(&[honest("x")], &[outside])
    })
    .collect()
}

fn dtypes() -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    // What the graph says of its input.
    for dtype in [0, 2, INT64, STRING, BOOL, 10, 11, 14, 15, 16, 99, -1] {
        let x = [value("x", dtype, &[D::S("N"), D::N(2)])];
        out.push(model(&graph(&[honest("x")], &[weights()], &x, &io().1)));
    }
    // What a weight says of itself, with bytes for floats.
    for dtype in [0, 2, INT64, STRING, BOOL, 11, 14, 16, 17, 21, 99, -7] {
        out.push(xy(&[honest("x")], &[tensor("W", dtype, &[2, 3], &f32s(&[0.0; 6]))]));
    }
    for to in [0, STRING, 99, i64::MIN] {
        out.push(xy(&[node("Cast", "c", &["x"], &["z"], &[int("to", to)]), honest("z")], &[weights()]));
    }
    // NaN and infinity where numbers are wanted.
    for v in [f32::NAN, f32::INFINITY, f32::MIN_POSITIVE / 2.0] {
        out.push(xy(&[honest("x")], &[tensor("W", FLOAT, &[2, 3], &f32s(&[v; 6]))]));
    }
    out
}

fn attributes() -> Vec<Vec<u8>> {
    let wild = [i64::MIN, i64::MAX, -1, 0, 1 << 40];
    let mut out = Vec::new();
    let one = |op: &str, inputs: &[&str], attributes: &[Vec<u8>], inits: &[Init]| {
        xy(&[node(op, "wild", inputs, &["z"], attributes), honest("z")], &[inits, &[weights()]].concat())
    };
    for v in wild {
        for (op, name) in [
            ("Softmax", "axis"),
            ("Flatten", "axis"),
            ("Concat", "axis"),
            ("Gather", "axis"),
            ("ArgMax", "axis"),
            ("CumSum", "axis"),
            ("DepthToSpace", "blocksize"),
            ("LRN", "size"),
            ("Split", "num_outputs"),
        ] {
            let second: &[&str] =
                if matches!(op, "Concat" | "Gather" | "CumSum") { &["x", "W"] } else { &["x"] };
            out.push(one(op, second, &[int(name, v)], &[]));
        }
        // Convolutions whose windows, steps or groups make no sense.
        let k = tensor("K", FLOAT, &[1, 1, 3], &f32s(&[1.0; 3]));
        for attributes in [
            vec![ints("kernel_shape", &[v])],
            vec![ints("strides", &[v])],
            vec![ints("dilations", &[v])],
            vec![ints("pads", &[v, v])],
            vec![int("group", v)],
        ] {
            let nodes = [
                node("Unsqueeze", "u", &["x", "one"], &["x3"], &[]),
                node("Conv", "conv", &["x3", "K"], &["z3"], &attributes),
                node("Squeeze", "q", &["z3", "one"], &["z"], &[]),
                honest("z"),
            ];
            out.push(xy(&nodes, &[k.clone(), shape("one", &[1]), weights()]));
        }
        for op in ["MaxPool", "AveragePool"] {
            let nodes = [
                node("Unsqueeze", "u", &["x", "one"], &["x3"], &[]),
                node(op, "pool", &["x3"], &["z3"], &[ints("kernel_shape", &[v]), ints("pads", &[v, 0])]),
                node("Squeeze", "q", &["z3", "one"], &["z"], &[]),
                honest("z"),
            ];
            out.push(xy(&nodes, &[shape("one", &[1]), weights()]));
        }
    }
    for v in [f32::NAN, f32::INFINITY, -0.0, f32::MAX] {
        out.push(one("LeakyRelu", &["x"], &[float("alpha", v)], &[]));
        out.push(one("Gemm", &["x", "W"], &[float("alpha", v), float("beta", v)], &[]));
    }
    for perm in [&[0i64, 0][..], &[1], &[5, 9], &[-1, 0], &[0, 1, 2], &[]] {
        out.push(one("Transpose", &["x"], &[ints("perm", perm)], &[]));
    }
    for equation in ["", "ij,jk->", "ii->i", "i->ijk", "...", &"a".repeat(100_000), "ij,jk->iz", ",,,,->"] {
        out.push(one("Einsum", &["x", "W"], &[string("equation", equation)], &[]));
    }
    // An attribute of the wrong kind, and one that is there twice.
    out.push(one("Softmax", &["x"], &[string("axis", "1")], &[]));
    out.push(one("Softmax", &["x"], &[floats("axis", &[1.0]), int("axis", 1), int("axis", 0)], &[]));
    out
}

fn names() -> Vec<Vec<u8>> {
    let long = "n".repeat(1 << 20);
    vec![
        xy(
            &[node("Relu", "a", &["x"], &["z"], &[]), node("Relu", "a", &["z"], &["z"], &[]), honest("z")],
            &[weights()],
        ),
        xy(&[honest("x")], &[weights(), weights()]),
        xy(&[node("Relu", &long, &["x"], &[&long], &[]), honest(&long)], &[weights()]),
        xy(&[node("Relu", "", &["x"], &[""], &[]), honest("")], &[weights()]),
        xy(&[node("Relu", "r", &["x"], &["W"], &[]), honest("W")], &[weights()]),
        xy(&[node(&long, "op", &["x"], &["y"], &[])], &[]),
        xy(&[node("../../bin/sh", "op", &["x"], &["y"], &[])], &[]),
        xy(&[node("MatMul", "dense", &["x", "W", "x", "x", "x"], &["y", "p", "q"], &[])], &[weights()]),
        xy(&[node("MatMul", "dense", &[], &["y"], &[])], &[weights()]),
        xy(&[node("MatMul", "dense", &["x", "W"], &[], &[])], &[weights()]),
        xy(&[node("FancyNewOp", "\u{202e}\u{1b}[2J", &["x"], &["y"], &[])], &[]),
        xy(&[], &[tensor("y", FLOAT, &[1, 3], &f32s(&[0.0; 3]))]),
    ]
}

fn shape_operators() -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    let one = |op: &str, inputs: &[&str], inits: &[Init]| {
        xy(&[node(op, "wild", inputs, &["z"], &[]), honest("z")], &[inits, &[weights()]].concat())
    };
    for dims in [&[-1i64, -1][..], &[-2, 2], &[0, 0], &[i64::MAX, 2], &[7], &[], &[0, 0, 0, 0, 0]] {
        out.push(one("Reshape", &["x", "s"], &[shape("s", dims)]));
        out.push(one("Unsqueeze", &["x", "s"], &[shape("s", dims)]));
        out.push(one("Squeeze", &["x", "s"], &[shape("s", dims)]));
        out.push(one("Expand", &["x", "s"], &[shape("s", dims)]));
    }
    for (from, to, step) in
        [(i64::MIN, i64::MAX, 1), (0, 1, 0), (5, 1, 1), (i64::MAX, i64::MIN, i64::MIN), (0, 0, -1)]
    {
        let inits = [shape("a", &[from]), shape("b", &[to]), shape("ax", &[1]), shape("st", &[step])];
        out.push(one("Slice", &["x", "a", "b", "ax", "st"], &inits));
    }
    for index in [i64::MIN, i64::MAX, 99, -99] {
        out.push(one("Gather", &["x", "i"], &[shape("i", &[index])]));
        out.push(one("GatherND", &["x", "i"], &[shape("i", &[index])]));
        out.push(one("Split", &["x", "i"], &[shape("i", &[index])]));
    }
    let empty = tensor("E", FLOAT, &[0, 3], &[]);
    out.push(xy(&[node("MatMul", "m", &["x", "E"], &["y"], &[])], std::slice::from_ref(&empty)));
    out.push(xy(&[honest("x"), node("ReduceMax", "m", &["E"], &["t"], &[])], &[empty, weights()]));
    out
}

fn quantised() -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    for scale in [0.0, -1.0, f32::NAN, f32::INFINITY, 1e-45] {
        for zero in [
            tensor("zp", 2, &[], &[255]),
            tensor("zp", 3, &[], &[128]),
            tensor("zp", FLOAT, &[], &f32s(&[0.5])),
        ] {
            let nodes = [
                node("QuantizeLinear", "q", &["x", "sc", "zp"], &["xq"], &[]),
                node("DequantizeLinear", "d", &["xq", "sc", "zp"], &["z"], &[]),
                honest("z"),
            ];
            out.push(xy(&nodes, &[scalar("sc", scale), zero, weights()]));
        }
    }
    let scales = tensor("sc", FLOAT, &[7], &f32s(&[1.0; 7]));
    for axis in [i64::MIN, 99, 0] {
        let nodes = [
            node("QuantizeLinear", "q", &["x", "sc"], &["xq"], &[int("axis", axis)]),
            node("DequantizeLinear", "d", &["xq", "sc"], &["z"], &[int("axis", axis)]),
            honest("z"),
        ];
        out.push(xy(&nodes, &[scales.clone(), weights()]));
    }
    out.push(xy(
        &[
            node("DynamicQuantizeLinear", "q", &["x"], &["a", "b", "c"], &[]),
            node("MatMulInteger", "m", &["a", "W"], &["y"], &[]),
        ],
        &[weights()],
    ));
    out.push(xy(
        &[node("QLinearMatMul", "m", &["x", "sc", "sc", "W", "sc", "sc", "sc", "sc"], &["y"], &[])],
        &[scalar("sc", 0.0), weights()],
    ));
    out
}

fn opsets() -> Vec<Vec<u8>> {
    let (x, y) = io();
    let g = graph(&[honest("x")], &[weights()], &x, &y);
    let opset = |domain: &str, v: i64| bytes(8, &[text(1, domain), number(2, v)].concat());
    let mut out: Vec<Vec<u8>> = [0, -1, 9999, i64::MAX]
        .into_iter()
        .map(|v| {
            // An operator that means something else in each version.
            let nodes = [
                node("Softmax", "s", &["x"], &["z"], &[]),
                node("Squeeze", "q", &["z"], &["w"], &[]),
                honest("w"),
            ];
            [number(1, 8), bytes(7, &graph(&nodes, &[weights()], &x, &y)), opset("", v)].concat()
        })
        .collect();
    out.push([number(1, i64::MAX), bytes(7, &g)].concat());
    out.push([number(1, 8), bytes(7, &g), opset("evil.example", 1)].concat());
    let foreign = [node("Relu", "r", &["x"], &["z"], &[]), text(7, "evil.example")].concat();
    out.push(xy(&[foreign, honest("z")], &[weights()]));
    out.push(
        [number(1, 8), (0..10_000).flat_map(|i| opset(&format!("d{i}"), i)).collect(), bytes(7, &g)].concat(),
    );
    out
}

fn truncated(whole: &[u8], chance: &mut Chance) -> Vec<Vec<u8>> {
    (0..15).map(|_| whole[..1 + chance.below(whole.len() - 1)].to_vec()).collect()
}

/// The real model with wounds: flipped bits, changed lengths, pieces moved, cut out and put in.
fn mutated(whole: &[u8], chance: &mut Chance) -> Vec<Vec<u8>> {
    (0..60)
        .map(|i| {
            let mut bytes = whole.to_vec();
            // Structure is at the ends of the file, weights between: half of the wounds go where the structure is.
            let spot = |chance: &mut Chance, len: usize| match chance.below(4) {
                0 => chance.below(len.min(400)),
                1 => len - 1 - chance.below(len.min(1200)),
                _ => chance.below(len),
            };
            for _ in 0..1 + chance.below(4) {
                let at = spot(chance, bytes.len());
                let n = (1 + chance.below(64)).min(bytes.len() - at);
                match i % 6 {
                    0 => bytes[at] ^= 1 << chance.below(8),
                    1 => bytes[at] = *chance.pick(&[0x00, 0x7f, 0x80, 0xff]),
                    2 => drop(bytes.drain(at..at + n)),
                    3 => {
                        let piece = chance.bytes(n);
                        bytes.splice(at..at, piece);
                    }
                    4 => {
                        let piece = bytes[at..at + n].to_vec();
                        let to = spot(chance, bytes.len());
                        bytes.splice(to..to, piece);
                    }
                    _ => bytes[at..at + n].fill(0xff),
                }
            }
            bytes
        })
        .collect()
}
