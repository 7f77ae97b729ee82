//! Keys and signatures that the libraries at hand do not make, as base64 of DER; proofs are over
//! [`crate::material::POD_UID`].

/// A request with a P-224 key, properly signed.
pub(super) const P224_REQUEST: &str = concat!(
    "MIGnMFcCAQAwADBOMBAGByqGSM49AgEGBSuBBAAhAzoABFu4qqhBGIH8xJauwKAu2eglUTIgsJFAS9sTQ2iTwuHp",
    "zHFVL3QO4r/O5Ldt4Yw0ahu114Q9QVBkoAAwCgYIKoZIzj0EAwIDQAAwPQIcQbBiHjnqS3W0AKQtRvlMrvbSkxXo",
    "+/8N8y0grAIdAKL1tiVojkOlEk9Qhg4TdYaXTOSxCM9o/Yrn928=",
);
/// That key alone.
pub(super) const P224_KEY: &str = concat!(
    "ME4wEAYHKoZIzj0CAQYFK4EEACEDOgAEW7iqqEEYgfzElq7AoC7Z6CVRMiCwkUBL2xNDaJPC4enMcVUvdA7iv87k",
    "t23hjDRqG7XXhD1BUGQ=",
);
/// Its proof of possession.
pub(super) const P224_PROOF: &str =
    "MDwCHG+p7ACaUbC3WCFZw3JPoCQ5EddvRAphh7JA/4kCHAlXZsL823yXfJhiy69OFVPlkhSlCzdvjXJ0ICs=";
/// A request with a DSA key, properly signed.
pub(super) const DSA_REQUEST: &str = concat!(
    "MIICHjCCAcoCAQAwADCCAb8wggE0BgcqhkjOOAQBMIIBJwKBgQC8kmQGBir7YHv3FyA9SeE856xOMI27OLWItY3E",
    "9mlIW1MyD2Ox4IwYln5W3XzpcwuXA/d+WXlR+E1WdJIURPDvotnU56g5AH3HKDxBQBFddAc6P8q5MfzABVZVVV0G",
    "eesFwkmlRF3IE8efhsAO2aU/fY4zN2BDCAzFMBcnEuMOnQIdANl4Z5yHdqveOz1Q1YipAcNMLxgrD1Ug6AboAfUC",
    "gYEAtYHDXBUJcBaRsDCGSPY/0+IXy5AE7TKkqWy0FQYSp7Obm2XgSOqFw1/6ECMiG1bDZbMEF5OuVPwe+KGB+ao/",
    "QVpmhSLKxVAzK/vtcVLDvkQ18eSEBWB8U523e5AzWWYpGHaoshRwwiXK6aYF+FNEw35H3rQeeEw7kjW2X6B2WJUD",
    "gYQAAoGAI9vv8g2B6ZROpz2B7vGCrLG0/HY0ZoeEwsTi8i5jVozDPUyrD+zPY5Ah6MOQpEjkuV+x4MB/GtOaC1Gq",
    "J03Q6l+CQ545PZiRrwEmufIg3U0GvXFtvSim3m4QcYOXzPExVKaVHzdjW/9uDNxEncKTppqNxx5X7aRZXIEozLqf",
    "fCigADALBglghkgBZQMEAwIDQQAwPgIdAMC6Q4NNvPTDTrjym5W1iV0pG/+hlY72VYzwsSkCHQC9YXBnf3BMSLP/",
    "896hJTeyeZkdqzIw6+EI547n",
);
/// That key alone.
pub(super) const DSA_KEY: &str = concat!(
    "MIIBvzCCATQGByqGSM44BAEwggEnAoGBALySZAYGKvtge/cXID1J4TznrE4wjbs4tYi1jcT2aUhbUzIPY7HgjBiW",
    "flbdfOlzC5cD935ZeVH4TVZ0khRE8O+i2dTnqDkAfccoPEFAEV10Bzo/yrkx/MAFVlVVXQZ56wXCSaVEXcgTx5+G",
    "wA7ZpT99jjM3YEMIDMUwFycS4w6dAh0A2XhnnId2q947PVDViKkBw0wvGCsPVSDoBugB9QKBgQC1gcNcFQlwFpGw",
    "MIZI9j/T4hfLkATtMqSpbLQVBhKns5ubZeBI6oXDX/oQIyIbVsNlswQXk65U/B74oYH5qj9BWmaFIsrFUDMr++1x",
    "UsO+RDXx5IQFYHxTnbd7kDNZZikYdqiyFHDCJcrppgX4U0TDfkfetB54TDuSNbZfoHZYlQOBhAACgYAj2+/yDYHp",
    "lE6nPYHu8YKssbT8djRmh4TCxOLyLmNWjMM9TKsP7M9jkCHow5CkSOS5X7HgwH8a05oLUaonTdDqX4JDnjk9mJGv",
    "ASa58iDdTQa9cW29KKbebhBxg5fM8TFUppUfN2Nb/24M3ESdwpOmmo3HHlftpFlcgSjMup98KA==",
);
/// A request with a key on secp256k1, which is no NIST curve.
pub(super) const SECP256K1_REQUEST: &str = concat!(
    "MIG2MF8CAQAwADBWMBAGByqGSM49AgEGBSuBBAAKA0IABEscbwIl2JJ+k+teJqdEsbISV24JmJQ8PuDUxyz7COVQ",
    "hfa2iiQfQgLRqcbnaD3NP+npwtjdBiamCtQWDqepXPigADAKBggqhkjOPQQDAgNHADBEAiAY4OjWwtyabTkn6FCy",
    "Sfqzbb3QUibX5ou8lxAMq+tsjAIgRyqCuYQC9R/W5ddvu2ELSmIqGUwS41maUZEmV9J4Nzg=",
);
/// A key that can agree but not sign.
pub(super) const X25519_KEY: &str = "MCowBQYDK2VuAyEAI0TIzgluRxCNbviqT4Q/gUgRZuYFRFhELqxnLnttll4=";
/// An RSA key of 3072 bits.
pub(super) const RSA_KEY: &str = concat!(
    "MIIBojANBgkqhkiG9w0BAQEFAAOCAY8AMIIBigKCAYEAkSQokmToLNOVzoT61EAn6OTdjKhr40nZzyHJS1E+Ku6H",
    "Mg6U4YtgoRUkNPyYodpwlIPqtolv1o0HNbgtkKMRR8AL9tASQzdO1oKRh4JLBo35TdTaS2I+VenHAmISEHhe76iU",
    "Z33RbuO0sZpTbY4eULs1L81mtsvxflucTapYjjWl8nV+68K77Ml1nwIlbjtXIB1fEs83Nj8G/H76iB0K7DueH6kq",
    "9UiY+lz4++WhuSfYZCFDChqRXjbjVIGA9hPxX4jn3q1HlYy/Rz2RLXmWGmRy3r5nboe27ESan3XROQ4A5uhD5a6X",
    "3MHq8lD1lez3Lsl66amFvkAczIys8n1XUNtHFeNMvq6BYXSMCgjFl9tnvWIcPqWpImr28FfDIz7R/HdRtPQ6V5Hv",
    "KDXx1126IKb4hD0hYegR6PeF2qsMWgKrW0OYzzXABYgefO7TbpCPb4U5ph+IRxW8yTDXD77Ws63v33NP2ilzZAnK",
    "ueoyocsMy7xs3HD+taAc4xt1WJ7VAgMBAAE=",
);
/// Its proof with the longest salt that fits, as Go's signer makes it unasked.
pub(super) const RSA_PROOF_LONGEST_SALT: &str = concat!(
    "GR9nARX3R6fVJW2XafMaGEuKEFEVLdsmuKC3I1h8/+25yX8yaa7oMaH9y10r24bPHFraBpJn5jeokaYPMhaCGjUc",
    "x4xuJXuN6Z+AlJFVinlGTY07HfagPgDayFYdNiaYSo2ijFlTUTg8ghDXvl1oh2b8mcPHH9wTOQDJHTjL7p3s9zsE",
    "o2JXbCYN9fqF3Am4XUxKC1ZO++9xiEo7rHt2W5u5Yd0DtDRwD/oe4PEl1xyxhQEiIhDBXiRAyW/N09gh9snPKc0Y",
    "NSn2nfq13+yKdiUwQmvuKbRNbtIR55ulsvgvH5nHZBOU8shwyl1PulrSxuK4TLDJzYWM8b3pUXrWdXc9ztcPFSA/",
    "Y/X1FBxzJqPV7Os0/0a0xwiucLWuGbsCuP15lLFC0sQ2kuiJpzErwboz7tOMKtzEArgCXeI1du5Rt6PyiKqvwVij",
    "Si2WrmQNTxcGj66Za+/OIFxMaahako5/naX8v57L5MI3Oz29pfFOba1HIMD742vhuufyuYIY",
);
/// Its proof without salt.
pub(super) const RSA_PROOF_NO_SALT: &str = concat!(
    "TieU3EkwvB9xu2pvXfpmeYoWFLLobsxCir/v35EJtouMZJSsZ2c/b0pMc8yTGhsXnbbvebEMPLy3DN0KwPl55n5U",
    "TqfDydImMh4hSN84WKYCgZCGIaUAH3bTiJzGnaTFQbNZGGwiLh95uKpEwvvh88fo9MPA7FpyZO4u9iAA28lzOM6u",
    "M1ZRQHX9RO5Sb8rlYblIEmQBkTvmF1Gwl3etMJNmgNUTntiVDWotlyoVSCsBJD7/JEmO5dPjSJmpRrOOoX3weR/J",
    "lJiZxGZtPIgln39I+rrSDKcJ8wjD5h3gxfY9WJDD4j87jLGHxZSW+3VytiJuHnnknNv/GWQ8QNcTZpZtgi3dorfg",
    "yiy/FgTP7rsE+dEEPk4PSaDERjq2fNJC7cgnJicBaauBtVHuzqT62QA/l+/7bCQzDG7MoV9PeDC3JivUSxAJnDWf",
    "ZIVBg0fL3Ihl+yEkH75zyqPBZZJynSi3q+eUHzUnxBr8dkb5+ZYOxd948yIwDgk6ilJxiUz/",
);
/// Its proof over SHA-384 instead of SHA-256.
pub(super) const RSA_PROOF_SHA384: &str = concat!(
    "U+/hEjvY8r9gCayKR2RCdItY3yGK8WQzYKcZ3T6q5nCimssQa7OQfh9sdT6njNx2WepDZAxfCzzj9QhFLtM9yxtD",
    "Wqfj0dvrCvBaj4mVK4FwJ6LTrP1Hx1zSgppk2y7PfmVRCZ1mV7QIEtuX/yNYYpXHPP7pr7ezBLn5npAvK8gTmRLF",
    "ELoN+eUIIlJBDRhXax/6IX8yAM8qlsdbOen19WpCAupwIpd+QM43F4bNqRpWEmFjPXZ0/jW8FPu720KxUH5OtGL4",
    "9kcLwgcY4PnRNUqhu16WstUXAen6M5S7BDJmCe735qjG+wfYHJhk4PQHdqxnpuO4vI9OBhtqgqFXyJPT3xxwev1F",
    "sM3boFnFv9biOciyeEAdrec7t5bIJmMtIUDy6BfEiOAh28egVxdVNvUMiM+kmh6HyajTNjRDZaz7051u1of5xSAT",
    "mj+I186hYy9R6jX85DXjEyuSV/Xs7UnWp7G4tDnQHtSiAzZTu7l4FUyU6gfilWMNGnYwQrVv",
);
