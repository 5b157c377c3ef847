// All app settings, in one place: what is not written here is removed from the app at the next deployment. What each means:
// docs/reference/settings.md. A test compares the names, and the values that are the code's own defaults.

param siteName string
param hostName string

@description('The app\'s own storage account.')
param storageName string

@description('https://ACCOUNT.blob.…')
param mailStorageUrl string
param mailContainer string
param insightsConnectionString string

@description('The client id of the user-assigned identity; empty: the system-assigned one.')
param identityClientId string

@description('With a slash at its end.')
param vaultUri string

@description('{ support: { PROTOCOL: \'imap\', HOST: \'imap.example.com\', ADDRESS: \'support@example.com\' } }')
param mailboxes object

@description('{ support: { PASSWORD: \'support-password\' } }: the setting, and the name of the secret in the vault.')
param mailboxSecrets object

@description('{ sales: { ADDRESS: \'sales@example.com\' } }')
param routes object

@description('The name of the secret in the vault that is GRAPH_CLIENT_STATE_KEY. Empty: Graph notifies nobody.')
param graphKeySecret string

@description('Other values for the settings of defaults below.')
param tuning object

// What a binding names (POLL_SCHEDULE) has to be here; the others would be the same if they were not.
var defaults = {
  POLL_SCHEDULE: '0 * * * * *'
  POLL_BUDGET: '300'
  LOOP_LIMIT: '25'
  MAX_RECIPIENTS: '200'
  MAX_ATTACHMENTS: '200'
  #disable-next-line no-hardcoded-env-urls
  SIGN_IN_AUTHORITY: 'https://login.microsoftonline.com'
  GRAPH_ENDPOINT: 'https://graph.microsoft.com/v1.0'
  GRAPH_SUBSCRIPTION_MINUTES: '4230'
}

// The host and the SDKs sign in by the same identity. AZURE_CLIENT_ID is DefaultAzureCredential's, for MAIL_STORAGE.
var userAssigned = empty(identityClientId) ? {} : {
  AzureWebJobsStorage__clientId: identityClientId
  AZURE_CLIENT_ID: identityClientId
}

var platform = {
  AzureWebJobsStorage__accountName: storageName
  AzureWebJobsStorage__credential: 'managedidentity'
  APPLICATIONINSIGHTS_CONNECTION_STRING: insightsConnectionString
  APPLICATIONINSIGHTS_AUTHENTICATION_STRING: empty(identityClientId) ? 'Authorization=AAD' : 'ClientId=${identityClientId};Authorization=AAD'
  // Four queue functions at six each and three timers: with fewer, a long poll keeps messages waiting
  // (docs/reference/host.md).
  PYTHON_THREADPOOL_THREAD_COUNT: '32'
  // The worker gives us the host's trace, and the host does not send our log lines a second time.
  PYTHON_ENABLE_OPENTELEMETRY: 'true'
}

var mail = {
  MAIL_STORAGE: mailStorageUrl
  MAIL_CONTAINER: mailContainer
}

// References without a version: a new version is read within a day, or at once after a refresh (infra/README.md).
var graph = empty(graphKeySecret) ? {} : {
  GRAPH_WEBHOOK_URL: 'https://${hostName}/api/graph_webhook'
  GRAPH_CLIENT_STATE_KEY: '@Microsoft.KeyVault(SecretUri=${vaultUri}secrets/${graphKeySecret})'
}

var mailboxList = flatten(map(items(mailboxes), box => map(items(box.value), setting => {
  name: 'MAILBOXES__${box.key}__${setting.key}'
  value: string(setting.value)
})))

// Azure asks for tokens as the app's system-assigned identity where no other is named.
var identityList = map(
  filter(items(mailboxes), box => !empty(identityClientId) && contains(box.value, 'SIGN_IN') && !contains(box.value, 'CLIENT_ID') && box.value.SIGN_IN == 'managed-identity'),
  box => {
    name: 'MAILBOXES__${box.key}__CLIENT_ID'
    value: identityClientId
  }
)

var secretList = flatten(map(items(mailboxSecrets), box => map(items(box.value), setting => {
  name: 'MAILBOXES__${box.key}__${setting.key}'
  value: '@Microsoft.KeyVault(SecretUri=${vaultUri}secrets/${setting.value})'
})))

var routeList = flatten(map(items(routes), route => map(items(route.value), setting => {
  name: 'ROUTES__${route.key}__${setting.key}'
  value: string(setting.value)
})))

var named = toObject(concat(mailboxList, identityList, secretList, routeList), entry => entry.name, entry => entry.value)

resource site 'Microsoft.Web/sites@2024-04-01' existing = {
  name: siteName
}

resource settings 'Microsoft.Web/sites/config@2024-04-01' = {
  // checkov:skip=CKV_AZURE_13:Graph cannot sign in; a notification is proven by its client state
  // checkov:skip=CKV_AZURE_63:these are the app settings, which have no such property; requests are in Application Insights
  // checkov:skip=CKV_AZURE_65:the same
  // checkov:skip=CKV_AZURE_66:the same
  // checkov:skip=CKV_AZURE_80:the same, and there is no .NET
  // checkov:skip=CKV_AZURE_88:nothing is kept on the app's disks
  // checkov:skip=CKV_AZURE_222:Graph sends its notifications over the internet
  parent: site
  name: 'appsettings'
  properties: union(defaults, tuning, mail, graph, named, userAssigned, platform)
}
