// Mailroom in Azure: `azd up`, or `az deployment sub create`. infra/README.md describes each part and how to change it.
// No secret is a parameter, and nothing signs in with a key: the app uses its identity for storage, vault and telemetry.

targetScope = 'subscription'

@description('Name of the installation, and part of the resource group\'s name.')
@minLength(1)
@maxLength(40)
param environmentName string

@description('Region of all resources; it must have Flex Consumption (az functionapp list-flexconsumption-locations).')
@minLength(1)
@metadata({
  azd: {
    type: 'location'
  }
})
param location string

@description('The resource group. Empty: named after the environment.')
param resourceGroupName string = ''

@description('UserAssigned: a separate identity, which keeps its rights in Exchange when the app is deleted. SystemAssigned: an identity that is deleted with the app.')
@allowed([
  'UserAssigned'
  'SystemAssigned'
])
param identityType string = 'UserAssigned'

@description('Object id of the operator who writes secrets to the vault and runs the command on this storage; azd passes the caller\'s. Empty: no operator.')
param principalId string = ''

@allowed([
  'User'
  'Group'
  'ServicePrincipal'
])
param principalType string = 'User'

@description('The mailboxes, without their secrets: { support: { PROTOCOL: \'imap\', HOST: \'imap.example.com\', ADDRESS: \'support@example.com\' } } is MAILBOXES__support__PROTOCOL and so on.')
param mailboxes object = {}

@description('The names of the mailboxes\' secrets in the vault: { support: { PASSWORD: \'support-password\' } }.')
param mailboxSecrets object = {}

@description('The routes: { sales: { ADDRESS: \'sales@example.com\' } } is ROUTES__sales__ADDRESS.')
param routes object = {}

@description('The name of the secret in the vault that authenticates Graph notifications. Write the secret to the vault first. Empty: no notifications, only the timer polls.')
param graphKeySecret string = ''

@description('Other values for POLL_SCHEDULE, POLL_BUDGET and similar settings: { POLL_SCHEDULE: \'0 */5 * * * *\' }.')
param tuning object = {}

@description('Memory of an instance in MB.')
@allowed([
  512
  2048
  4096
])
param instanceMemoryMB int = 2048

@description('Largest number of instances.')
@minValue(40)
@maxValue(1000)
param maximumInstanceCount int = 100

// Graph requires a response within 3 seconds, and the validation of a new address within 10. A cold start can take longer.
// Graph delays, and finally drops, the notifications to an address that is often late. An always-ready instance responds
// in milliseconds. It costs money all day, and is useless without Graph notifications.
@description('Always-ready instances for HTTP, that is, for Graph. -1: one if Graph notifications are on, otherwise none.')
@minValue(-1)
param alwaysReadyHttp int = -1

@description('Resource id of an existing storage account for mail. Empty: a new account is created.')
param existingMailStorageId string = ''

@description('Region of the existing account, such as westeurope. Its event topic is created there. Empty: the region of the app.')
param existingMailStorageLocation string = ''

@description('Container of all mail, and prefix of the tables\' names: letters and digits.')
@minLength(3)
@maxLength(40)
param mailContainer string = 'mail'

@description('Redundancy of the new account for mail.')
@allowed([
  'Standard_LRS'
  'Standard_ZRS'
  'Standard_GRS'
  'Standard_RAGRS'
  'Standard_GZRS'
  'Standard_RAGZRS'
])
param mailRedundancy string = 'Standard_ZRS'

@description('Days for which deleted and overwritten mail can be restored.')
@minValue(1)
@maxValue(365)
param recoverDays int = 7

// These three are off. The comments on their rules in mail/account.bicep describe what each of them breaks.
@description('Days after which messages are moved to the cool tier, where reading costs more; 0: never.')
@minValue(0)
param coolAfterDays int = 0

@description('Days after which messages are moved to the archive tier; 0: never. An archived message must be rehydrated before it can be read or replayed.')
@minValue(0)
param archiveAfterDays int = 0

@description('Days after which messages, results and records are deleted, including unhandled messages; 0: never.')
@minValue(0)
param deleteAfterDays int = 0

@description('Create the Event Grid topic of the mail\'s account. An account can have only one: set false if it already has one.')
param mailEvents bool = empty(existingMailStorageId)

@description('Functions that receive an event for each result: [{ name: \'crm\', functionId: \'…\', route: \'sales\' }]. Deploy them first.')
param consumers array = []

@description('Make storage and vault reachable only through private endpoints, and use a fixed address for mail servers. Operators must be in the network as well.')
param privateNetwork bool = false

@description('E-mail addresses that receive alerts.')
param alertEmails array = []

@description('Retention of telemetry in days.')
@minValue(30)
@maxValue(730)
param retentionDays int = 30

// The service's name in azure.yaml.
var serviceName = 'mailroom'
var tags = {
  'azd-env-name': environmentName
}
var token = toLower(uniqueString(subscription().id, environmentName, location))
var prefix = 'mailroom-${token}'
var siteName = 'func-${prefix}'
var userAssigned = identityType == 'UserAssigned'
var ownMailStorage = empty(existingMailStorageId)
var ownMailStorageName = 'stmail${token}'
var publicAccess = privateNetwork ? 'Disabled' : 'Enabled'
var groupName = empty(resourceGroupName) ? 'rg-${environmentName}' : resourceGroupName

// /subscriptions/ID/resourceGroups/NAME/providers/Microsoft.Storage/storageAccounts/NAME
var mailParts = split(existingMailStorageId, '/')
var mailSubscription = ownMailStorage ? subscription().subscriptionId : mailParts[2]
var mailGroup = ownMailStorage ? groupName : mailParts[4]
var mailStorageLocation = ownMailStorage || empty(existingMailStorageLocation) ? location : existingMailStorageLocation
var mailStorageName = ownMailStorage ? ownMailStorageName : last(mailParts)
var mailStorageId = ownMailStorage ? resourceId(subscription().subscriptionId, groupName, 'Microsoft.Storage/storageAccounts', ownMailStorageName) : existingMailStorageId

// A quarter of the requested time; a subscription is renewed at half of it.
var subscriptionMinutes = contains(tuning, 'GRAPH_SUBSCRIPTION_MINUTES') ? int(tuning.GRAPH_SUBSCRIPTION_MINUTES) : 4230

resource group 'Microsoft.Resources/resourceGroups@2024-03-01' = {
  name: groupName
  location: location
  tags: tags
}

module identity 'app/identity.bicep' = if (userAssigned) {
  name: 'identity'
  scope: group
  params: {
    name: 'id-${prefix}'
    location: location
    tags: tags
  }
}

module monitoring 'app/monitoring.bicep' = {
  name: 'monitoring'
  scope: group
  params: {
    workspaceName: 'log-${prefix}'
    insightsName: 'appi-${prefix}'
    location: location
    tags: tags
    retentionDays: retentionDays
  }
}

module alerts 'app/alerts.bicep' = {
  name: 'alerts'
  scope: group
  params: {
    location: location
    tags: tags
    workspaceId: monitoring.outputs.workspaceId
    prefix: prefix
    emails: alertEmails
    subscriptionLeftSeconds: subscriptionMinutes * 15
  }
}

module storage 'app/storage.bicep' = {
  name: 'storage'
  scope: group
  params: {
    name: 'stapp${token}'
    location: location
    tags: tags
    packageContainer: 'app-package'
    publicAccess: publicAccess
  }
}

module vault 'app/vault.bicep' = {
  name: 'vault'
  scope: group
  params: {
    name: 'kv-${token}'
    location: location
    tags: tags
    workspaceId: monitoring.outputs.workspaceId
    publicAccess: publicAccess
  }
}

module mailStorage 'mail/account.bicep' = if (ownMailStorage) {
  name: 'mail-storage'
  scope: group
  params: {
    name: ownMailStorageName
    location: location
    tags: tags
    container: mailContainer
    redundancy: mailRedundancy
    publicAccess: publicAccess
    recoverDays: recoverDays
    coolAfterDays: coolAfterDays
    archiveAfterDays: archiveAfterDays
    deleteAfterDays: deleteAfterDays
  }
}

module mailData 'mail/data.bicep' = {
  name: 'mail-data'
  scope: resourceGroup(mailSubscription, mailGroup)
  params: {
    accountName: mailStorageName
    container: mailContainer
  }
  dependsOn: [
    group
    mailStorage
  ]
}

module events 'mail/events.bicep' = if (mailEvents) {
  name: 'mail-events'
  scope: resourceGroup(mailSubscription, mailGroup)
  params: {
    accountName: mailStorageName
    topicName: 'evgt-${prefix}'
    location: mailStorageLocation
    tags: tags
    container: mailContainer
    consumers: consumers
  }
  dependsOn: [
    mailData
  ]
}

module network 'app/network.bicep' = if (privateNetwork) {
  name: 'network'
  scope: group
  params: {
    name: 'vnet-${prefix}'
    location: location
    tags: tags
  }
}

module endpoints 'app/endpoints.bicep' = if (privateNetwork) {
  name: 'endpoints'
  scope: group
  params: {
    location: location
    tags: tags
    prefix: 'pep-${prefix}'
    subnetId: privateNetwork ? network!.outputs.endpointSubnetId : ''
    targets: privateNetwork ? [
      {
        name: 'app-blob'
        resourceId: storage.outputs.id
        group: 'blob'
        zoneId: network!.outputs.blobZoneId
      }
      {
        name: 'app-queue'
        resourceId: storage.outputs.id
        group: 'queue'
        zoneId: network!.outputs.queueZoneId
      }
      {
        name: 'app-table'
        resourceId: storage.outputs.id
        group: 'table'
        zoneId: network!.outputs.tableZoneId
      }
      {
        name: 'mail-blob'
        resourceId: mailStorageId
        group: 'blob'
        zoneId: network!.outputs.blobZoneId
      }
      {
        name: 'mail-table'
        resourceId: mailStorageId
        group: 'table'
        zoneId: network!.outputs.tableZoneId
      }
      {
        name: 'vault'
        resourceId: vault.outputs.id
        group: 'vault'
        zoneId: network!.outputs.vaultZoneId
      }
    ] : []
  }
  dependsOn: [
    mailData
  ]
}

module site 'app/site.bicep' = {
  name: 'site'
  scope: group
  params: {
    name: siteName
    planName: 'plan-${prefix}'
    location: location
    tags: tags
    serviceName: serviceName
    identityId: userAssigned ? identity!.outputs.id : ''
    packageUrl: storage.outputs.packageUrl
    instanceMemoryMB: instanceMemoryMB
    maximumInstanceCount: maximumInstanceCount
    alwaysReadyHttp: alwaysReadyHttp >= 0 ? alwaysReadyHttp : (empty(graphKeySecret) ? 0 : 1)
    subnetId: privateNetwork ? network!.outputs.appSubnetId : ''
  }
  dependsOn: [
    endpoints
  ]
}

module appRoles 'app/roles.bicep' = {
  name: 'app-roles'
  scope: group
  params: {
    appPrincipalId: userAssigned ? identity!.outputs.principalId : site.outputs.principalId
    operatorPrincipalId: principalId
    operatorPrincipalType: principalType
    storageName: storage.outputs.name
    leaseContainer: storage.outputs.leaseContainer
    vaultName: vault.outputs.name
    insightsName: monitoring.outputs.insightsName
  }
}

module mailRoles 'app/roles.bicep' = {
  name: 'mail-roles'
  scope: resourceGroup(mailSubscription, mailGroup)
  params: {
    appPrincipalId: userAssigned ? identity!.outputs.principalId : site.outputs.principalId
    operatorPrincipalId: principalId
    operatorPrincipalType: principalType
    mailStorageName: mailStorageName
    mailContainer: mailData.outputs.container
    mailTables: mailData.outputs.tables
  }
}

module settings 'app/settings.bicep' = {
  name: 'settings'
  scope: group
  params: {
    siteName: site.outputs.name
    hostName: site.outputs.hostName
    storageName: storage.outputs.name
    mailStorageUrl: mailData.outputs.blobUrl
    mailContainer: mailData.outputs.container
    insightsConnectionString: monitoring.outputs.connectionString
    identityClientId: userAssigned ? identity!.outputs.clientId : ''
    vaultUri: vault.outputs.uri
    mailboxes: mailboxes
    mailboxSecrets: mailboxSecrets
    routes: routes
    graphKeySecret: graphKeySecret
    tuning: tuning
  }
  // Roles first: references to the vault are resolved when the settings are written.
  dependsOn: [
    appRoles
    mailRoles
  ]
}

output AZURE_LOCATION string = location
output AZURE_TENANT_ID string = tenant().tenantId
output AZURE_RESOURCE_GROUP string = group.name
output AZURE_KEY_VAULT_NAME string = vault.outputs.name

@description('NAME in func azure functionapp publish NAME.')
output AZURE_FUNCTION_APP_NAME string = site.outputs.name

@description('Values for the operator\'s local.settings.json: MAIL_STORAGE and AzureWebJobsStorage__accountName.')
output MAIL_STORAGE string = mailData.outputs.blobUrl
output APP_STORAGE_ACCOUNT string = storage.outputs.name
output GRAPH_WEBHOOK_URL string = 'https://${site.outputs.hostName}/api/graph_webhook'

@description('Object id that needs rights in Exchange (docs/how-to/office365.md) if a mailbox signs in by managed-identity.')
output IDENTITY_PRINCIPAL_ID string = userAssigned ? identity!.outputs.principalId : site.outputs.principalId
output IDENTITY_CLIENT_ID string = userAssigned ? identity!.outputs.clientId : ''

@description('The topic of result events; empty if none was created.')
output RESULTS_TOPIC string = mailEvents ? events!.outputs.topicName : ''

@description('The address from which mail servers see connections of the app; empty: any address of Azure.')
output OUTBOUND_ADDRESS string = privateNetwork ? network!.outputs.outboundAddress : ''
